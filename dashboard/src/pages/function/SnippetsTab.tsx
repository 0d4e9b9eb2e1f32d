// How it is called from elsewhere.
import { useState } from "preact/hooks";
import type { FunctionView } from "../../api/schema";
import { snippets } from "../../lib/snippets";
import { Card, CopyButton } from "../../ui/parts";

function savedEvent(name: string): string {
  try {
    const kept = JSON.parse(localStorage.getItem(`hearth.events.${name}`) ?? "[]") as Array<{ text?: unknown }>;
    return typeof kept[0]?.text === "string" ? kept[0].text : '{"name": "Ada"}';
  } catch {
    return '{"name": "Ada"}';
  }
}

export function SnippetsTab({ one }: { one: FunctionView }) {
  const all = snippets(one.name, one.invoke_url, savedEvent(one.name), location.origin);
  const [id, set] = useState(all[0]?.id);
  const now = all.find((each) => each.id === id);
  return (
    <Card
      flush
      title="Call it"
      hint={one.invoke_url ? "It has a URL, open to whoever reaches the ingress." : "It has no URL: callers need a token or AWS's signature."}
      actions={now && <CopyButton text={now.text} />}
    >
      <div class="segments" role="tablist" aria-label="Language">
        {all.map((each) => (
          <button key={each.id} type="button" role="tab" aria-selected={each.id === id} onClick={() => set(each.id)}>
            {each.label}
          </button>
        ))}
      </div>
      <pre class="snippet" tabIndex={0} aria-label={`Snippet, ${now?.label ?? ""}`}>
        {now?.text}
      </pre>
    </Card>
  );
}
