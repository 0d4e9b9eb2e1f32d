// The way back to what a function was, after a look at what it changes.
import { rollBack } from "../../api/actions";
import type { FunctionView, RollbackWrite } from "../../api/schema";
import { useAction } from "../../api/use";
import { Differences } from "../../ui/Diff";
import { Button, Dialog, ErrorBox } from "../../ui/parts";
import { toast } from "../../ui/toast";

export interface Target {
  write: RollbackWrite;
  revision: number;
  label: string;
}

export function RollBackDialog({ one, target, onClose }: { one: FunctionView; target: Target; onClose: () => void }) {
  const go = useAction(async () => {
    const now = await rollBack(one.name, target.write);
    toast(`Rolled back to ${target.label}: revision ${now.revision} takes the calls`);
    onClose();
  });
  return (
    <Dialog
      wide
      title={`Roll back to ${target.label}?`}
      onClose={onClose}
      foot={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" icon="back" busy={go.busy} cannot={one.canary ? "A canary runs: promote it or end it first" : false} onClick={() => void go.run()}>
            Roll back
          </Button>
        </>
      }
    >
      <ErrorBox error={go.error} />
      <p>
        It becomes revision {one.revision + 1}, equal to {target.label}. Calls that run are answered as they began. This changes:
      </p>
      <Differences name={one.name} from={one.revision} to={target.revision} />
    </Dialog>
  );
}
