// The editor, loaded when it is first needed.
import type { FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { EditorProps } from "./Editor";
import { ErrorBox, Skeleton } from "./parts";

let loaded: FunctionComponent<EditorProps> | undefined;

export function LazyEditor(props: EditorProps) {
  const [Editor, set] = useState<FunctionComponent<EditorProps> | undefined>(() => loaded);
  const [error, setError] = useState<unknown>(undefined);
  useEffect(() => {
    if (loaded) return;
    import("./Editor").then(
      (module) => {
        loaded = module.default;
        set(() => module.default);
      },
      (failure: unknown) => setError(failure),
    );
  }, []);
  if (error !== undefined) return <ErrorBox error={error} />;
  return Editor ? <Editor {...props} /> : <Skeleton lines={6} />;
}
