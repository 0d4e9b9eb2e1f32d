// Makes src/api/schema.ts of the API's OpenAPI document: the dashboard's types are the server's.
import { readFileSync, writeFileSync } from "node:fs";

const document = JSON.parse(readFileSync(new URL("../../crates/control/openapi.json", import.meta.url), "utf8"));

/** A schema as a TypeScript type. */
function type(schema) {
  if (schema === undefined || schema === true) return "unknown";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return [...new Set(several.map(type))].join(" | ");
  if (schema.allOf) return schema.allOf.map(type).join(" & ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const kinds = [schema.type].flat().filter(Boolean);
  if (kinds.length === 0) return "unknown";
  return kinds.map((kind) => one(kind, schema)).join(" | ");
}

function one(kind, schema) {
  switch (kind) {
    case "string":
      return "string";
    case "integer":
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "null":
      return "null";
    case "array":
      return `Array<${type(schema.items)}>`;
    case "object":
      if (schema.properties) return object(schema);
      return `Record<string, ${type(schema.additionalProperties || undefined)}>`;
    default:
      throw new Error(`unknown type ${kind} in the OpenAPI document`);
  }
}

function object(schema) {
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties).map(([name, property]) => {
    const optional = required.has(name) ? "" : "?";
    return `  ${JSON.stringify(name)}${optional}: ${type(property)}${optional ? " | undefined" : ""};`;
  });
  return `{\n${lines.join("\n")}\n}`;
}

const types = Object.entries(document.components.schemas).map(
  ([name, schema]) => `${schema.description ? `/** ${schema.description.replaceAll("*/", "* /")} */\n` : ""}export type ${name} = ${type(schema)};\n`,
);
writeFileSync(
  new URL("../src/api/schema.ts", import.meta.url),
  `// Made by scripts/types.mjs of crates/control/openapi.json.\n\n${types.join("\n")}`,
);
