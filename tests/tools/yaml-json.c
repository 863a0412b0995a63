/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints a YAML file as JSON: for tests in languages that have no YAML of their own. Usage: yaml-json FILE */
#include <libfyaml.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "Usage: yaml-json FILE\n");
		return 2;
	}
	struct fy_document *doc = fy_document_build_from_file(NULL, argv[1]);
	if (!doc)
		return 1;
	int rc = fy_emit_document_to_file(doc, FYECF_MODE_JSON_ONELINE, "/dev/stdout");
	fy_document_destroy(doc);
	return rc ? 1 : 0;
}
