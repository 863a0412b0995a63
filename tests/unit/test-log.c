/* SPDX-License-Identifier: BSD-3-Clause */
/* A line of the log keeps its form whatever a value holds; to the journal values go as they are, in fields; passwords to neither. */
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

/* In place of the library's. */
int sd_journal_sendv(const struct iovec *iov, int n);

static char journal[32][3000];
static int journal_n, journal_rc;

int sd_journal_sendv(const struct iovec *iov, int n)
{
	journal_n = 0;
	for (int i = 0; i < n; i++) {
		assert_true(iov[i].iov_len < sizeof journal[0]);
		memcpy(journal[journal_n], iov[i].iov_base, iov[i].iov_len);
		journal[journal_n++][iov[i].iov_len] = 0;
	}
	return journal_rc;
}

static int saved_stderr, pipes[2];
static char said[65536];

static void capture(void)
{
	assert_int_equal(pipe(pipes), 0);
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	saved_stderr = dup(2);
	dup2(pipes[1], 2);
}

static const char *captured(void)
{
	ssize_t n = read(pipes[0], said, sizeof said - 1);
	said[n > 0 ? n : 0] = 0;
	return said;
}

static void release(void)
{
	dup2(saved_stderr, 2);
	close(saved_stderr);
	close(pipes[0]);
	close(pipes[1]);
}

static void check_escape(const char *value, const char *want)
{
	char buf[100];
	size_t len = dray_log_escape(buf, sizeof buf, value);
	assert_int_equal(len, strlen(buf));
	assert_string_equal(buf, want);
}

static void escapes(void **state)
{
	check_escape("plain", "plain");
	check_escape("/dev/vg/a-b_c.d:0", "/dev/vg/a-b_c.d:0");
	check_escape("", "\"\"");
	check_escape("two words", "\"two words\"");
	check_escape("a=b", "\"a=b\"");
	check_escape("say \"hi\" \\", "\"say \\\"hi\\\" \\\\\"");
	check_escape("a\nb\rc\td", "\"a\\nb\\rc\\td\"");
	check_escape("\033[31mred\007", "\"\\x1b[31mred\\x07\"");
	check_escape("g\xc3\xbcnstig \xe2\x82\xac \xf0\x9f\x9a\x80", "\"g\xc3\xbcnstig \xe2\x82\xac \xf0\x9f\x9a\x80\"");
	check_escape("\xff\xc3(\xe2\x82", "\"\\xff\\xc3(\\xe2\\x82\"");
	check_escape("\xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80", "\"\\xed\\xa0\\x80 \\xc0\\xaf \\xf4\\x90\\x80\\x80\"");
	check_escape("\xc2\x9b", "\"\\xc2\\x9b\""); /* a control character, to a terminal */
}

static void cut(void **state)
{
	char buf[17];
	assert_int_equal(dray_log_escape(buf, 16, "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"), 14);
	assert_string_equal(buf, "\"\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\"");
	assert_true(dray_log_escape(buf, 16, "\n\n\n\n\n\n\n\n\n\n\n") <= 15);
	assert_string_equal(buf, "\"\\n\\n\\n\\n\\n\\n\"");
	assert_true(dray_log_escape(buf, 16, "0123456789abcdefghi") <= 15);
}

/* Anything: what comes out is one line, in quotes or plain, and says the same when it is read back. */
static void anything(void **state)
{
	srandom(1);
	for (int round = 0; round < 50000; round++) {
		char value[64], buf[300], back[300];
		size_t n = (size_t)random() % 60, m = 0;
		for (size_t i = 0; i < n; i++)
			value[i] = (char)(random() % 4 ? 1 + random() % 255 : "\"\\\n x="[random() % 6]);
		value[n] = 0;
		size_t len = dray_log_escape(buf, sizeof buf, value);
		assert_true(len == strlen(buf) && len > 0);
		for (size_t i = 0; i < len; i++)
			assert_true((unsigned char)buf[i] >= ' ' && buf[i] != 0x7f);
		if (buf[0] != '"') {
			assert_string_equal(buf, value);
			continue;
		}
		assert_true(buf[len - 1] == '"');
		for (size_t i = 1; i < len - 1; i++) {
			assert_true(buf[i] != '"');
			if (buf[i] != '\\') {
				back[m++] = buf[i];
				continue;
			}
			unsigned byte;
			i++;
			if (buf[i] == 'x') {
				assert_int_equal(sscanf(buf + i + 1, "%2x", &byte), 1);
				back[m++] = (char)byte;
				i += 2;
			} else {
				back[m++] = (char)(buf[i] == 'n' ? '\n' : buf[i] == 'r' ? '\r' : buf[i] == 't' ? '\t' : buf[i]);
			}
		}
		back[m] = 0;
		assert_string_equal(back, value);
	}
}

static void lines(void **state)
{
	const char *keys[] = { "session", "s-1", "none", NULL, "path", "/a b", NULL };
	capture();
	unsetenv("JOURNAL_STREAM");
	dray_log_init("test", DRAY_LOG_INFO);
	dray_log(DRAY_LOG_DEBUG, "not", "shown");
	assert_string_equal(captured(), "");
	dray_log_level(DRAY_LOG_DEBUG);
	dray_log_fields(DRAY_LOG_DEBUG, "word", keys, "two\nlines of %s", "nbd://me:s3cret@host/x and nbd://you:p@h y://z");
	const char *line = captured();
	assert_non_null(strstr(line, "Z level=debug program=test event=word session=s-1 path=\"/a b\" msg=\"two\\nlines of "));
	assert_non_null(strstr(line, "nbd://me:***@host/x and nbd://you:***@h y://z\"\n"));
	assert_null(strstr(line, "s3cret"));
	assert_true(strchr(line, '\n') == line + strlen(line) - 1);
	char *long_one = malloc(100001);
	memset(long_one, '"', 100000);
	long_one[100000] = 0;
	const char *many[] = { "a", long_one, "b", long_one, "c", long_one, "d", long_one, "e", long_one, NULL };
	dray_log_fields(DRAY_LOG_ERROR, "long", many, "%s", long_one);
	line = captured();
	size_t n = strlen(line);
	assert_true(n > 2000 && n <= 8192 && line[n - 1] == '\n' && line[n - 2] == '"' && !memchr(line, '\n', n - 1));
	free(long_one);
	release();
}

static const char *in_journal(const char *key)
{
	for (int i = 0; i < journal_n; i++)
		if (!strncmp(journal[i], key, strlen(key)) && journal[i][strlen(key)] == '=')
			return journal[i] + strlen(key) + 1;
	return NULL;
}

static void to_the_journal(void **state)
{
	const char *keys[] = { "session", "s-1", "detail", "two\nlines \"\xff", NULL };
	char stream[80];
	struct stat st;
	capture();
	fstat(2, &st);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1); /* another one's: we were redirected */
	dray_log_init("test", DRAY_LOG_INFO);
	assert_false(dray_log_to_journal());
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	dray_log_init("test", DRAY_LOG_INFO);
	assert_true(dray_log_to_journal());
	dray_log_fields(DRAY_LOG_WARN, "word", keys, "nbd://a:b@c");
	assert_string_equal(captured(), "");
	assert_string_equal(in_journal("MESSAGE"), "nbd://a:***@c");
	assert_string_equal(in_journal("PRIORITY"), "4");
	assert_string_equal(in_journal("SYSLOG_IDENTIFIER"), "test");
	assert_string_equal(in_journal("DRAY_EVENT"), "word");
	assert_string_equal(in_journal("DRAY_SESSION"), "s-1");
	assert_string_equal(in_journal("DRAY_DETAIL"), "two\nlines \"\xff");
	dray_log(DRAY_LOG_ERROR, "bare", "%s", "");
	assert_string_equal(in_journal("MESSAGE"), "bare");
	assert_string_equal(in_journal("PRIORITY"), "3");
	journal_rc = -2; /* it is not there: said where it is read all the same */
	dray_log(DRAY_LOG_INFO, "still", "here");
	assert_non_null(strstr(captured(), "event=still msg=here\n"));
	journal_rc = 0;
	unsetenv("JOURNAL_STREAM");
	dray_log_init("test", DRAY_LOG_INFO);
	release();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes), cmocka_unit_test(cut), cmocka_unit_test(anything), cmocka_unit_test(lines),
		cmocka_unit_test(to_the_journal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
