/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/advise.h"

#include <stdio.h>
#include <string.h>

const char *advise_legal(const char *kind, bool target, bool online_possible)
{
	static const struct {
		const char *kind, *source, *target;
	} words[] = {
		{ "not_found", "a resource that exists", "a resource that exists, or create: thin or full, where a file is to be made" },
		{ "not_accessible", "a resource that the agent may read", "a resource that the agent may read and write" },
		{ "read_only", "a resource that can be read", "a resource that can be written" },
		{ "bad_resource", "a regular file, a block device or an NBD export, or an aligned slice inside one",
			"a regular file, a block device or an NBD export, or an aligned slice inside one" },
		{ "unreachable", "the address of a server that answers", "the address of a server that answers" },
		{ "held", "a storage that nobody else uses; one in use is moved as a volume", "a storage that nobody else uses" },
		{ "mounted", "a storage that is not mounted; one in use is moved as a volume", "a storage that is not mounted and no swap" },
	};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (!strcmp(words[i].kind, kind))
			return target ? words[i].target : words[i].source;
	return NULL;
}

void advise_keep(struct dray_pair *p, const struct dray_content *c)
{
	json_decref(p->holds);
	p->holds = !c->what[0] ? NULL :
		json_pack("{s:s, s:s, s:s, s:s, s:s}", "what", c->what, "type", c->type, "uuid", c->uuid, "table", c->table,
			"table_uuid", c->table_uuid);
}

static const char *held(const struct dray_pair *p, const char *key)
{
	const char *s = json_string_value(json_object_get(p->holds, key));
	return s ? s : "";
}

void advise_target(struct dray_session *s, size_t pair, const char *pointer, size_t target, const struct probe *probe,
	uint64_t size_bytes)
{
	const struct dray_pair *p = &s->pairs[pair];
	const char *name = p->targets[target].at.resource;
	if (probe->missing && p->create == DRAY_CREATE_THIN && size_bytes > probe->room_bytes)
		dray_session_warn(s, pointer, "no_room",
			"%s is made thin where %llu bytes are free, and the source has %llu: it fails if more than that has to be stored", name,
			(unsigned long long)probe->room_bytes, (unsigned long long)size_bytes);
	if (!strcmp(held(p, "table"), "gpt") && size_bytes && !probe->missing && !probe->rc && probe->info.size_bytes > size_bytes)
		dray_session_warn(s, pointer, "gpt_backup",
			"%s is %llu bytes larger than the source, which has a GPT: the backup of that table will not be at the target's end. The volume keeps "
			"its size until the commit and what lies behind it on the target is not touched; afterwards `sgdisk --move-second-header` on the "
			"target, not in use, puts it there",
			name, (unsigned long long)(probe->info.size_bytes - size_bytes));
}

/* How a UUID is changed on what carries it. */
static const char *remedy(const char *type)
{
	static const struct {
		const char *type, *words;
	} ways[] = {
		{ "ext2", "tune2fs -U random DEVICE" },
		{ "ext3", "tune2fs -U random DEVICE" },
		{ "ext4", "tune2fs -U random DEVICE" },
		{ "xfs", "xfs_admin -U generate DEVICE (to mount both without: -o nouuid)" },
		{ "btrfs", "btrfstune -u DEVICE" },
		{ "swap", "swaplabel -U $(uuidgen) DEVICE" },
		{ "LVM2_member", "vgimportclone DEVICE" },
		{ "crypto_LUKS", "cryptsetup luksUUID --uuid $(uuidgen) DEVICE" },
		{ "linux_raid_member", "mdadm --assemble --update=uuid" },
		{ "vfat", "mlabel -n -i DEVICE ::" },
		{ "ntfs", "ntfslabel --new-serial DEVICE" },
	};
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
		if (!strcmp(ways[i].type, type))
			return ways[i].words;
	return NULL;
}

static void done_with(struct change *c, struct pair_run *run, const char *pointer, const char *name)
{
	struct dray_session *s = run->job->s;
	const struct dray_pair *p = run_pair(run);
	char what[400] = "", how[400] = "";
	size_t n = 0, m = 0;
	if (*held(p, "uuid")) {
		const char *way = remedy(held(p, "type"));
		n = (size_t)snprintf(what, sizeof what, "the UUID %s (%s)", held(p, "uuid"), held(p, "what"));
		m = (size_t)snprintf(how, sizeof how, "%s", way ? way : "the tools of what it holds");
	}
	if (*held(p, "table_uuid")) {
		snprintf(what + n, sizeof what - n, "%sthe UUID %s (%s partition table%s)", n ? " and " : "", held(p, "table_uuid"), held(p, "table"),
			!strcmp(held(p, "table"), "gpt") ? ", with those of its partitions" : "");
		snprintf(how + m, sizeof how - m, "%s%s", m ? "; " : "",
			!strcmp(held(p, "table"), "gpt") ? "sgdisk -G DEVICE" : "sfdisk --disk-id DEVICE ID");
	}
	if (!*what)
		return;
	char pair[16];
	snprintf(pair, sizeof pair, "%u", p->id);
	if (dray_session_warn(s, pointer, "duplicate_uuid",
		    "%s and %s both carry %s now: a host that sees both may take one for the other (mount by UUID, LVM, multipath). Keep one of "
		    "them from being seen, wipe the source (wipefs -a) if it is not needed, or give one another identity: %s",
		    p->source.resource, name, what, how))
		change_event(c, p->id, "warning", NULL, "duplicate_uuid", "%s and %s both carry %s", p->source.resource, name, what);
}

static void no_switch(struct dray_session *s, struct change *c, const char *pointer, const char *key)
{
	char why[200];
	snprintf(why, sizeof why, "nobody uses the sources of this session, so nothing is switched: each pair is completed as soon as it is copied, whatever %s says",
		key);
	if (dray_session_warn(s, pointer, "no_switch", "%s", why) && c)
		change_event(c, 0, "warning", NULL, "no_switch", "%s", why);
}

void advise_switch(struct dray_session *s, struct change *c)
{
	for (size_t i = 0; i < s->n_pairs; i++)
		if (!pair_offline(&s->pairs[i]))
			return;
	if (s->when == DRAY_WHEN_TIME || s->when == DRAY_WHEN_EVENT)
		no_switch(s, c, "/switch/when", "switch.when");
	if (s->switch_window.n)
		no_switch(s, c, "/switch/window", "switch.window");
}

void advise_done(struct change *c, struct pair_run *run)
{
	const struct dray_pair *p = run_pair(run);
	char pointer[64];
	for (size_t t = 0; p->holds && t < p->n_targets; t++) {
		if (p->targets[t].error)
			continue;
		if (p->targets_as_list)
			snprintf(pointer, sizeof pointer, "/pairs/%u/target/%zu", run->index, t);
		else
			snprintf(pointer, sizeof pointer, "/pairs/%u/target", run->index);
		done_with(c, run, pointer, p->targets[t].at.resource);
	}
}
