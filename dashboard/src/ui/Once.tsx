// A secret that was just made: shown this once, and only closed on purpose.
import { Button, CopyButton, Dialog } from "./parts";

export function Once({ title, parts, onClose }: { title: string; parts: Array<{ label: string; text: string; hint: string }>; onClose: () => void }) {
  return (
    <Dialog
      title={title}
      onClose={() => undefined}
      foot={
        <Button kind="primary" icon="check" onClick={onClose}>
          I have kept it
        </Button>
      }
    >
      <p>Copy it now: Hearth keeps only its hash, and nobody can show it again.</p>
      {parts.map((one) => (
        <div class="field" key={one.label}>
          <span>{one.label}</span>
          <div class="once">
            <code aria-label={one.label} role="textbox" aria-readonly="true" tabIndex={0}>
              {one.text}
            </code>
            <CopyButton text={one.text} label={`Copy: ${one.label}`} />
          </div>
          <p class="hint">{one.hint}</p>
        </div>
      ))}
    </Dialog>
  );
}
