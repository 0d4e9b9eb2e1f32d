// How a function is called from elsewhere, ready to be copied.

export interface Snippet {
  id: string;
  label: string;
  text: string;
}

/** For a shell: nothing in it is expanded. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export function snippets(name: string, url: string | null | undefined, event: string, control: string): Snippet[] {
  const compact = oneLine(event);
  const target = url ?? `${control}/2015-03-31/functions/${name}/invocations`;
  return [
    {
      id: "cli",
      label: "hearth",
      text: `hearth invoke ${name} ${quote(compact)}`,
    },
    {
      id: "curl",
      label: "curl",
      text: url
        ? `curl -sS ${target} \\\n  -H 'content-type: application/json' \\\n  -d ${quote(compact)}`
        : `# It has no URL: with the token, through AWS's Invoke\ncurl -sS ${target} \\\n  -H "authorization: Bearer $HEARTH_TOKEN" \\\n  -d ${quote(compact)}`,
    },
    {
      id: "boto3",
      label: "boto3",
      text: `# eval "$(hearth aws-env)" first\nimport json\nimport boto3\n\nclient = boto3.client("lambda")\nanswer = client.invoke(\n    FunctionName=${JSON.stringify(name)},\n    Payload=json.dumps(json.loads(${JSON.stringify(compact)})),\n)\nprint(json.load(answer["Payload"]))\n`,
    },
    {
      id: "fetch",
      label: "fetch",
      text: url
        ? `const answer = await fetch(${JSON.stringify(target)}, {\n  method: "POST",\n  headers: { "content-type": "application/json" },\n  body: JSON.stringify(${compact}),\n});\nconsole.log(answer.status, await answer.json());\n`
        : `// It has no URL: with the token, through AWS's Invoke\nconst answer = await fetch(${JSON.stringify(target)}, {\n  method: "POST",\n  headers: { authorization: \`Bearer \${process.env.HEARTH_TOKEN}\` },\n  body: JSON.stringify(${compact}),\n});\nconsole.log(await answer.json());\n`,
    },
  ];
}

function oneLine(event: string): string {
  try {
    return JSON.stringify(JSON.parse(event));
  } catch {
    return "{}";
  }
}
