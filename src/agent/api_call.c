/* SPDX-License-Identifier: BSD-3-Clause */
/* A call of the API: its making, and the answers it can get. */
#include "agent/api.h"

#include "agent/audit.h"
#include "agent/estimate.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct api_call *api_call_new(const char *method, const char *path)
{
	struct api_call *call = calloc(1, sizeof *call);
	if (!call || !(call->path = strdup(path)))
		abort();
	snprintf(call->method, sizeof call->method, "%s", method);
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->cond, NULL);
	dray_list_init(&call->node);
	dray_list_init(&call->ticket_node);
	dray_list_init(&call->audit_node);
	return call;
}

void api_call_free(struct api_call *call)
{
	json_decref(call->body);
	json_decref(call->answer);
	dray_session_free(call->submitted);
	probe_free(call->probes);
	dray_problems_free(&call->problems);
	if (call->probe)
		probe_empty(call->probe);
	free(call->probe);
	free(call->looks);
	if (call->facts) {
		json_decref(call->facts->speeds);
		ahead_clear(&call->facts->ahead);
	}
	free(call->facts);
	free(call->path);
	free(call->q_session);
	free(call->q_state);
	free(call->q_after_session);
	free(call->text);
	free(call->core_note);
	free(call->audit_session);
	pthread_mutex_destroy(&call->lock);
	pthread_cond_destroy(&call->cond);
	free(call);
}

void api_answer_now(struct api_call *call)
{
	pthread_mutex_lock(&call->lock);
	call->answered = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->lock);
}

void api_reply(struct api_call *call, int status, json_t *answer)
{
	call->status = status;
	call->answer = answer;
	if (!audit_answer(call, status, answer))
		api_answer_now(call);
}

void api_reply_text(struct api_call *call, int status, const char *type, char *text)
{
	call->status = status;
	call->type = type;
	call->text = text;
	if (!audit_answer(call, status, NULL))
		api_answer_now(call);
}

static void problem_v(struct api_call *call, int status, int exit_code, const char *code, json_t *more, const char *fmt,
	va_list ap)
{
	char detail[1024];
	vsnprintf(detail, sizeof detail, fmt, ap);
	json_t *answer = json_pack("{s:s, s:s, s:i, s:s, s:s, s:i}", "type", "about:blank", "title",
		MHD_get_reason_phrase_for((unsigned)status), "status", status, "detail", detail, "code", code, "exit", exit_code);
	if (more)
		json_object_update(answer, more);
	json_decref(more);
	if (!json_object_get(answer, "errors"))
		json_object_set_new(answer, "errors", json_array());
	call->type = "application/problem+json";
	api_reply(call, status, answer);
}

void api_problem(struct api_call *call, int status, int exit_code, const char *code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	problem_v(call, status, exit_code, code, NULL, fmt, ap);
	va_end(ap);
}

void api_problem_with(struct api_call *call, int status, int exit_code, const char *code, json_t *more, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	problem_v(call, status, exit_code, code, more, fmt, ap);
	va_end(ap);
}

void api_problems(struct api_call *call, const struct dray_problems *problems)
{
	bool syntax = problems->n == 1 && !strcmp(problems->items[0].code, "syntax");
	const char *first = problems->n ? problems->items[0].detail : "";
	json_t *more = json_pack("{s:o}", "errors", dray_problems_to_json(problems));
	const char *code = problems->n == 1 ? problems->items[0].code : "invalid";
	if (problems->n == 1)
		api_problem_with(call, syntax ? 400 : 422, 3, code, more, "%s", first);
	else
		api_problem_with(call, 422, 3, code, more, "%zu problems, the first: %s", problems->n, first);
}

void api_document(struct api_call *call, int status, const struct job *job, json_t *more)
{
	json_t *doc = job_document(job, true);
	if (more)
		json_object_update(doc, more);
	json_decref(more);
	if (call->yaml) {
		char *text = dray_yaml_from_json(doc);
		json_decref(doc);
		api_reply_text(call, status, "application/yaml", text);
	} else {
		api_reply(call, status, doc);
	}
}
