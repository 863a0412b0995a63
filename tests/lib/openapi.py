# SPDX-License-Identifier: BSD-3-Clause
"""docs/openapi.yaml, and a validator of answers for the part of its schema language that it uses; anything else in it is an error."""
import json
import os
import re
import subprocess

from dray import BUILD

DOCS = os.path.join(os.path.dirname(__file__), "../../docs")
KNOWN = {"type", "properties", "required", "additionalProperties", "items", "enum", "nullable", "oneOf", "allOf", "$ref", "format", "description",
         "minimum", "maximum", "pattern"}


def load():
    # libfyaml forgets 512 bytes of a document with as many braces as this one has; that is not ours to be told of.
    env = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([os.path.join(BUILD, "tests/yaml-json"), os.path.join(DOCS, "openapi.yaml")], capture_output=True, text=True, check=True,
                          env=env)
    return json.loads(done.stdout)


class Invalid(Exception):
    pass


class OpenApi:
    def __init__(self):
        self.doc = load()
        self.used = set()  # (path, method, status) that were seen

    def resolve(self, node):
        while "$ref" in node:
            at = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                at = at[part]
            node = at
        return node

    def route(self, method, url):
        """The path of the document that a URL means; those without parameters go first."""
        path = url.split("?")[0]
        for pattern in sorted(self.doc["paths"], key=lambda p: p.count("{")):
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
                return pattern, self.doc["paths"][pattern].get(method.lower())
        return None, None

    def check_answer(self, method, url, status, content_type, body):
        """body: JSON already read, or text."""
        pattern, operation = self.route(method, url)
        if operation is None:  # no path, or no such method: always a problem
            assert status in (404, 405), (method, url, status)
            self.check(body, {"$ref": "#/components/schemas/Problem"}, f"{method} {url}")
            return
        responses = operation["responses"]
        assert str(status) in responses or status >= 400, f"{method} {pattern}: status {status} is not in the document: {body}"
        self.used.add((pattern, method, status))
        response = self.resolve(responses.get(str(status)) or responses["default"])
        content = response.get("content")
        if not content:
            assert not body, f"{method} {pattern} {status}: a body that the document does not have"
            return
        kind = content_type.split(";")[0]
        assert kind in content, f"{method} {pattern} {status}: {kind}, not {list(content)}"
        if "json" in kind:
            self.check(body, content[kind]["schema"], f"{method} {url} {status}")

    def check(self, value, schema, where):
        schema = self.resolve(schema)
        assert set(schema) <= KNOWN, f"{where}: the validator does not know {set(schema) - KNOWN}"
        if value is None:
            if schema.get("nullable"):
                return
            raise Invalid(f"{where}: null")
        for part in schema.get("allOf", ()):
            self.check(value, part, where)
        if "oneOf" in schema:
            good = 0
            for part in schema["oneOf"]:
                try:
                    self.check(value, part, where)
                    good += 1
                except Invalid:
                    pass
            if good != 1:
                raise Invalid(f"{where}: {good} of oneOf: {value!r}")
        types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
        kind = schema.get("type")
        if kind and (not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean")):
            raise Invalid(f"{where}: {value!r} is no {kind}")
        if "enum" in schema and value not in schema["enum"]:
            raise Invalid(f"{where}: {value!r} is none of {schema['enum']}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise Invalid(f"{where}: {value!r} does not match {schema['pattern']}")
        if "minimum" in schema and value < schema["minimum"]:
            raise Invalid(f"{where}: {value!r} is below {schema['minimum']}")
        if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value):
            raise Invalid(f"{where}: {value!r} is no time")
        if isinstance(value, dict):
            properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
            for key in schema.get("required", ()):
                if key not in value:
                    raise Invalid(f"{where}: {key} is missing in {sorted(value)}")
            for key, v in value.items():
                if key in properties:
                    self.check(v, properties[key], f"{where}/{key}")
                elif more is False:
                    raise Invalid(f"{where}: {key} is not in the document")
                elif isinstance(more, dict):
                    self.check(v, more, f"{where}/{key}")
        if isinstance(value, list) and "items" in schema:
            for i, v in enumerate(value):
                self.check(v, schema["items"], f"{where}/{i}")
