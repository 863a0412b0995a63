/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define STOPPING 503 /* the status with which an agent that ends answers */

static void *must(void *p)
{
	if (!p) {
		note("out of memory");
		exit(EXIT_FAILED);
	}
	return p;
}

static char *join(const char *a, const char *b)
{
	char *s = must(malloc(strlen(a) + strlen(b) + 1));
	return strcat(strcpy(s, a), b);
}

char *socket_path(const struct args *args)
{
	const char *s = args->value[OPT_SOCKET], *env = getenv("DRAY_SOCKET"), *run = getenv("XDG_RUNTIME_DIR"),
		   *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	if (s && *s)
		return must(strdup(s));
	if (env && *env)
		return must(strdup(env));
	if (geteuid() == 0)
		return must(strdup("/run/dray/agent.sock"));
	if (run && *run)
		return join(run, "/dray/agent.sock");
	char user[64];
	struct stat st;
	snprintf(user, sizeof user, "/run/user/%u", (unsigned)geteuid());
	if (!stat(user, &st))
		return join(user, "/dray/agent.sock");
	if (state && *state)
		return join(state, "/dray/run/agent.sock");
	return join(home ? home : "", "/.local/state/dray/run/agent.sock");
}

char *path_of(const char *collection, const char *name, const char *suffix)
{
	char *escaped = must(curl_easy_escape(NULL, name, 0)), *path;
	if (asprintf(&path, "/v1/%s/%s%s", collection, escaped, suffix) < 0)
		must(NULL);
	curl_free(escaped);
	return path;
}

struct receiving {
	struct reply *reply;
	/* of an event stream */
	bool (*line)(void *arg, const char *data);
	void *arg;
	bool stopped;
	bool finite; /* it said how long it is */
	CURL *curl;
};

static size_t receive(char *data, size_t one, size_t n, void *arg)
{
	struct receiving *r = arg;
	struct reply *reply = r->reply;
	n *= one;
	char *body = realloc(reply->body, reply->len + n + 1);
	if (!body)
		return 0;
	reply->body = body;
	memcpy(body + reply->len, data, n);
	reply->len += n;
	body[reply->len] = 0;
	long status = 0;
	curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
	if (!r->line || status != 200)
		return n;
	/* Whole lines are told and dropped; "data: " carries an event, ": " is a sign of life. */
	char *start = body, *end;
	while (!r->stopped && (end = memchr(start, '\n', (size_t)(body + reply->len - start)))) {
		*end = 0;
		if (!strncmp(start, "data:", 5))
			r->stopped = !r->line(r->arg, start + 5 + (start[5] == ' '));
		start = end + 1;
	}
	reply->len -= (size_t)(start - body);
	memmove(body, start, reply->len + 1);
	return r->stopped ? 0 : n;
}

/* Why nothing came from the socket, in words of sockets: libcurl's are about ports. NULL: it does answer (again). */
static const char *why_silent(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	if (len >= sizeof address.sun_path)
		return "the path is too long for a socket";
	memcpy(address.sun_path, path, len + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return strerror(errno);
	int rc = connect(fd, (struct sockaddr *)&address, sizeof address), error = errno;
	close(fd);
	return !rc ? NULL :
		error == ENOENT ? "there is no such socket (is drayd running?)" :
		error == ECONNREFUSED ? "nobody listens there (is drayd running?)" : strerror(error);
}

static size_t receive_header(char *line, size_t size, size_t n, void *arg)
{
	static const char key[] = "Dray-Left-Out:";
	struct receiving *r = arg;
	if (size * n >= sizeof key - 1 && !strncasecmp(line, key, sizeof key - 1))
		r->reply->left_out = true;
	return size * n;
}

/* Sends the request; 0 (an answer came, of any status), or -1 (the agent is not there; `*why` says so). */
static int perform(const struct args *args, const struct call *call, struct receiving *receiving, struct reply *reply,
	char **why)
{
	char error[CURL_ERROR_SIZE] = "", header[128];
	char *path = socket_path(args), *url = join("http://dray", call->path);
	struct curl_slist *headers = NULL;
	CURL *curl = must(curl_easy_init());
	receiving->curl = curl;
	receiving->reply = reply;
	snprintf(header, sizeof header, "Content-Type: %s", call->type ? call->type : "application/json");
	headers = must(curl_slist_append(headers, header));
	snprintf(header, sizeof header, "Accept: %s", call->accept ? call->accept : "application/json");
	headers = must(curl_slist_append(headers, header));
	headers = must(curl_slist_append(headers, "Expect:"));
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, receiving);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, receive_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, receiving);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	/* Verbs take their time; what is only looked up does not. */
	if (!strcmp(call->method, "GET") && !receiving->line)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
	if (!strcmp(call->method, "POST") || !strcmp(call->method, "PATCH")) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body ? call->body : "");
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(call->body ? call->len : 0));
	}
	CURLcode rc = curl_easy_perform(curl);
	long status = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	reply->status = (int)status;
	curl_off_t length = -1;
	curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	receiving->finite = length >= 0;
	int result = 0;
	if (rc && !receiving->stopped) {
		const char *reason = why_silent(path);
		if (!reason)
			reason = *error ? error : curl_easy_strerror(rc);
		if (asprintf(why, "the agent can't be reached at %s: %s", path, reason) < 0)
			must(NULL);
		result = -1;
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	free(url);
	free(path);
	return result;
}

/* What a status means where the agent has not said. */
static int exit_of(int status)
{
	switch (status) {
	case 400:
	case 422: return EXIT_REFUSED;
	case 404: return EXIT_NOT_FOUND;
	case 409: return EXIT_ILLEGAL;
	case 504: return EXIT_TIMED_OUT;
	default: return EXIT_FAILED;
	}
}

static int judge(const struct args *args, struct reply *reply, const char *where)
{
	if (reply->status >= 200 && reply->status < 300)
		return EXIT_DONE;
	if (json_is_object(reply->json)) {
		if (!json_is_integer(json_object_get(reply->json, "exit")))
			json_object_set_new(reply->json, "exit", json_integer(exit_of(reply->status)));
		return fail_problem(args, reply->json, where);
	}
	return fail(args, exit_of(reply->status), "failed", "the agent answered with status %d", reply->status);
}

int request(const struct args *args, const struct call *call, struct reply *reply)
{
	struct receiving receiving = { 0 };
	char *why = NULL;
	*reply = (struct reply){ 0 };
	int rc = perform(args, call, &receiving, reply, &why);
	if (rc && !call->quiet)
		rc = fail(args, EXIT_UNREACHABLE, "unreachable", "%s", why);
	free(why);
	if (rc)
		return rc;
	if (call->quiet && reply->status == STOPPING)
		return -1; /* it is about to end: as if it were gone */
	if (!reply->body)
		reply->body = must(strdup(""));
	reply->json = json_loadb(reply->body, reply->len, JSON_DECODE_ANY, NULL);
	return judge(args, reply, call->where);
}

int request_json(const struct args *args, const char *path, struct reply *reply)
{
	int rc = request(args, &(struct call){ .method = "GET", .path = path }, reply);
	if (!rc && !reply->json)
		rc = fail(args, EXIT_FAILED, "failed", "the agent's answer is not JSON");
	return rc;
}

int request_events(const struct args *args, const char *path, bool quiet, bool (*line)(void *arg, const char *data), void *arg)
{
	struct reply reply = { 0 };
	struct receiving receiving = { .line = line, .arg = arg };
	struct call call = { .method = "GET", .path = path, .accept = "text/event-stream" };
	char *why = NULL;
	int rc = perform(args, &call, &receiving, &reply, &why);
	if (rc == -1 && reply.status == 200)
		rc = -1; /* it was cut */
	else if (rc == -1 && quiet)
		rc = -2;
	else if (rc == -1)
		rc = fail(args, EXIT_UNREACHABLE, "unreachable", "%s", why);
	else if (!rc && quiet && reply.status == STOPPING)
		rc = -2;
	else if (!rc && reply.status != 200) {
		reply.json = json_loads(reply.body ? reply.body : "", 0, NULL);
		rc = judge(args, &reply, NULL);
	}
	else if (!rc && !receiving.stopped && !receiving.finite)
		rc = -1; /* it has no end; the agent has */
	free(why);
	reply_free(&reply);
	return rc;
}

void reply_free(struct reply *reply)
{
	free(reply->body);
	json_decref(reply->json);
	*reply = (struct reply){ 0 };
}
