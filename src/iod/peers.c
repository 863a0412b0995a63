/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is /dev/nbd0 a volume of ours?
 *
 * The kernel does not say what server an NBD device is connected to; it says the process that connected it (/sys/block/nbdN/pid), and
 * a unix socket says the process at its other end. So:
 *
 *   - the same process: the device is that client's volume;
 *   - a client whose process is alive and connected no device uses the volume itself, as libnbd does;
 *   - a client whose process is gone, or of another PID namespace, or one of this host over TCP, may be held by the kernel
 *     (nbd-client in its old mode forks before it hands the socket over): any NBD device that is no other client's might be it.
 *
 * In the last case a device that belongs to another server may be refused. That is the lesser evil: whoever has an NBD server can
 * name it by its URI, and a volume that is copied onto itself is lost.
 */
#include "iod/peers.h"

#include "base/log.h"
#include "iod/volume.h"
#include "storage/below.h"
#include "storage/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

struct iod_peer {
	struct iod_peer *next;
	struct iod_volume *volume;
	char text[128];
};

struct device {
	dev_t dev;
	long pid;
};

struct devices {
	struct device at[256];
	unsigned n;
};

void iod_peers_note(struct iod_volume *v, bool connected, const char *peer)
{
	struct iod *iod = v->iod;
	struct iod_peer *p = connected ? calloc(1, sizeof *p) : NULL, *gone = NULL;
	if (connected && !p) {
		dray_log(DRAY_LOG_WARN, "client", "%s: no memory to note %s", v->def.name, peer);
		return;
	}
	pthread_mutex_lock(&iod->lock);
	if (p) {
		p->volume = v;
		snprintf(p->text, sizeof p->text, "%s", peer);
		p->next = iod->peers;
		iod->peers = p;
	} else {
		struct iod_peer **at = &iod->peers;
		while (*at && ((*at)->volume != v || strncmp((*at)->text, peer, sizeof (*at)->text - 1) != 0))
			at = &(*at)->next;
		gone = *at;
		if (gone)
			*at = gone->next;
	}
	pthread_mutex_unlock(&iod->lock);
	free(gone);
}

/* The NBD devices that are connected. */
static void find_devices(struct devices *d)
{
	char path[PATH_MAX];
	d->n = 0;
	snprintf(path, sizeof path, "%s/block", dray_sysfs_root());
	DIR *dir = opendir(path);
	for (struct dirent *e; dir && d->n < sizeof d->at / sizeof d->at[0] && (e = readdir(dir));) {
		unsigned maj, min;
		long pid;
		if (strncmp(e->d_name, "nbd", 3) != 0)
			continue;
		snprintf(path, sizeof path, "%s/block/%.64s/pid", dray_sysfs_root(), e->d_name);
		FILE *f = fopen(path, "re");
		bool known = f && fscanf(f, "%ld", &pid) == 1;
		if (f)
			fclose(f);
		snprintf(path, sizeof path, "%s/block/%.64s/dev", dray_sysfs_root(), e->d_name);
		f = known ? fopen(path, "re") : NULL;
		if (f && fscanf(f, "%u:%u", &maj, &min) == 2)
			d->at[d->n++] = (struct device){ makedev(maj, min), pid };
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		&((const struct sockaddr_in6 *)b)->sin6_addr, 16) == 0;
}

bool iod_address_is_ours(const char *host)
{
	struct addrinfo *found = NULL;
	struct ifaddrs *ours = NULL;
	bool hit = false;
	if (getaddrinfo(*host ? host : "localhost", NULL, &(struct addrinfo){ .ai_socktype = SOCK_STREAM }, &found) == 0 &&
		getifaddrs(&ours) == 0)
		for (struct addrinfo *a = found; a; a = a->ai_next)
			for (struct ifaddrs *i = ours; i; i = i->ifa_next)
				hit |= i->ifa_addr && same_host(a->ai_addr, i->ifa_addr);
	if (found)
		freeaddrinfo(found);
	if (ours)
		freeifaddrs(ours);
	return hit;
}

/* The process at the other end; 0: not known. */
static long peer_pid(const char *text)
{
	long pid;
	return sscanf(text, "unix:pid=%ld", &pid) == 1 ? pid : 0;
}

/* May the kernel hold this connection, though no device says so? */
static bool is_loose(const char *text, const struct devices *d)
{
	long pid = peer_pid(text);
	char host[128];
	for (unsigned i = 0; i < d->n && pid; i++)
		if (d->at[i].pid == pid)
			return false;
	if (pid)
		return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
	if (strncmp(text, "tcp:", 4) != 0)
		return true;
	snprintf(host, sizeof host, "%s", text + 4);
	char *colon = strrchr(host, ':');
	if (colon)
		*colon = 0;
	return iod_address_is_ours(host);
}

/* The peers of one volume, or of all (NULL): copied, so that the lock is not held while files are read. */
static char (*take_peers(struct iod *iod, const struct iod_volume *v, unsigned *n))[128]
{
	char(*text)[128] = NULL;
	*n = 0;
	pthread_mutex_lock(&iod->lock);
	for (const struct iod_peer *p = iod->peers; p; p = p->next) {
		char(*more)[128] = !v || p->volume == v ? realloc(text, (*n + 1) * sizeof *text) : NULL;
		if (!more)
			continue;
		text = more;
		memcpy(text[(*n)++], p->text, sizeof *text);
	}
	pthread_mutex_unlock(&iod->lock);
	return text;
}

/* ours[i]: device i is one of a volume's clients, or may be. */
static void judge(struct iod *iod, const struct iod_volume *v, struct devices *d, bool ours[])
{
	memset(ours, 0, sizeof(bool) * (sizeof d->at / sizeof d->at[0]));
	d->n = 0;
	unsigned n_all = 0, n_own = 0;
	char(*own)[128] = take_peers(iod, v, &n_own);
	if (n_own)
		find_devices(d);
	char(*all)[128] = d->n ? take_peers(iod, NULL, &n_all) : NULL;
	for (unsigned i = 0; i < d->n; i++) {
		bool known = false;
		for (unsigned k = 0; k < n_all; k++)
			known |= peer_pid(all[k]) == d->at[i].pid;
		for (unsigned k = 0; k < n_own; k++)
			ours[i] |= known ? peer_pid(own[k]) == d->at[i].pid : is_loose(own[k], d);
	}
	free(own);
	free(all);
}

json_t *iod_peers_devices(struct iod_volume *v)
{
	struct devices d;
	bool ours[sizeof d.at / sizeof d.at[0]];
	json_t *list = json_array();
	if (!atomic_load(&v->clients))
		return list;
	judge(v->iod, v, &d, ours);
	for (unsigned i = 0; i < d.n; i++)
		if (ours[i])
			json_array_append_new(list, json_sprintf("%u:%u", major(d.at[i].dev), minor(d.at[i].dev)));
	return list;
}

void iod_peers_news(struct iod *iod, uint64_t *seen)
{
	struct devices d;
	find_devices(&d);
	uint64_t now = d.n;
	for (unsigned i = 0; i < d.n; i++)
		now = (now * 31 + (uint64_t)d.at[i].dev) * 31 + (uint64_t)d.at[i].pid;
	pthread_mutex_lock(&iod->lock);
	for (struct iod_peer *p = d.n || now != *seen ? iod->peers : NULL; p; p = p->next)
		iod_news_changed(p->volume);
	*seen = now;
	pthread_mutex_unlock(&iod->lock);
}

struct hit {
	const struct devices *d;
	const bool *ours;
	unsigned at;
};

static bool is_ours(void *arg, dev_t dev)
{
	struct hit *h = arg;
	for (h->at = 0; h->at < h->d->n; h->at++)
		if (h->d->at[h->at].dev == dev && h->ours[h->at])
			return true;
	return false;
}

int iod_peers_check(struct iod *iod, const char *resource, struct dray_error *err)
{
	struct devices d;
	bool ours[sizeof d.at / sizeof d.at[0]];
	struct hit h = { &d, ours, 0 };
	char name[64] = "an NBD device";
	judge(iod, NULL, &d, ours);
	if (!d.n || !dray_storage_below(resource, is_ours, &h))
		return 0;
	dray_sysfs_name(d.at[h.at].dev, name, sizeof name);
	return dray_error_kind(err, -ELOOP, "self_export", "%s: it is, or lies on, %s, and that is an export of this same dray-iod, or can't be told from one",
		resource, name);
}
