// What works on this machine and what does not, images, prices, and this browser's own choices.
import { useState } from "preact/hooks";
import { ask, logout } from "../api/client";
import { api } from "../api/paths";
import type { Doctor, FindingView, ImageList, Severity } from "../api/schema";
import { useRead, useTick } from "../api/use";
import { ago, bytes, plural, span } from "../lib/format";
import { Badge, Button, Card, Command, Empty, Meter, PageHead, SelectField, Show, Table, type Tone } from "../ui/parts";
import { type Choice, choice, choose } from "../ui/theme";

const TONES: Record<Severity, Tone> = { ok: "good", weaker: "warn", missing: "bad" };

export function Findings({ list }: { list: FindingView[] }) {
  return (
    <ul class="findings">
      {list.map((one, at) => (
        <li key={at}>
          <Badge tone={TONES[one.severity]}>{one.severity}</Badge>
          <span>
            <strong>{one.subject}</strong> {one.state}
            {one.advice && <span class="advice">{one.advice}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}

export function Settings() {
  const doctor = useRead<Doctor>(api.doctor, 30_000);
  const images = useRead<ImageList>(api.images).data;
  const session = useRead<{ ends_in: number | null; token?: { name: string }; scopes?: string[] }>(api.session).data;
  const [theme, setTheme] = useState<Choice>(choice);
  const now = useTick(10_000);
  return (
    <>
      <PageHead
        title="Settings"
        sub={doctor.data ? `Hearth ${doctor.data.version}: what works on this machine, and what to do about the rest.` : "\u00a0"}
        actions={
          <Button icon="refresh" onClick={doctor.again}>
            Look again
          </Button>
        }
      />
      <Show data={doctor.data} error={doctor.error} again={doctor.again} lines={10}>
        {(one) => (
          <>
            {!one.works && (
              <div class="error" role="alert">
                <p>No function can run here yet: an isolation and a runtime have to work. What is missing, and what to install, is below.</p>
              </div>
            )}
            <div class="two">
              {one.isolations.map((each) => (
                <Card key={each.isolation} title={each.isolation} actions={<Badge tone={each.works ? "good" : "bad"}>{each.works ? "works" : "does not work"}</Badge>}>
                  <Findings list={each.findings} />
                  {each.works && (each.no_egress || each.no_mounts) && (
                    <p class="hint">
                      {each.no_egress && <>No network: {each.no_egress}. </>}
                      {each.no_mounts && <>No mounts: {each.no_mounts}.</>}
                    </p>
                  )}
                </Card>
              ))}
              <Card title="Runtimes">
                <ul class="findings">
                  {one.runtimes.map((each) => (
                    <li key={each.name}>
                      <Badge tone={each.works ? "good" : "bad"}>{each.works ? "works" : "missing"}</Badge>
                      <span>
                        <strong>{each.name}</strong> <code>{each.program}</code>
                      </span>
                    </li>
                  ))}
                </ul>
              </Card>
              {(one.machine ?? []).length > 0 && (
                <Card title="The machine">
                  <Findings list={one.machine ?? []} />
                </Card>
              )}
            </div>
            {one.telemetry_dropped > 0 && <p class="notice">{plural(one.telemetry_dropped, "log line or record", "log lines and records")} came faster than they could be kept, since the start.</p>}
          </>
        )}
      </Show>
      <Card flush title="Images" hint={images ? `${bytes(images.bytes)} of ${bytes(images.budget)}` : undefined}>
        {images && <Meter value={images.bytes} max={images.budget} label="Space of images" />}
        {images && images.images.length === 0 ? (
          <Empty icon="folder" title="No images" command="hearth image pull python:3.11-slim">
            A function can run in a container image's files instead of this machine's own /usr.
          </Empty>
        ) : (
          <Table label="Images" head={["Name", "Size", "Used by", "Pulled"]}>
            {(images?.images ?? []).map((each) => (
              <tr key={each.digest}>
                <td class="mono">{each.names.join(", ") || each.digest.slice(0, 19)}</td>
                <td class="num">{bytes(each.bytes)}</td>
                <td>{(each.functions ?? []).join(", ") || <span class="faint">nobody</span>}</td>
                <td class="faint">{ago(each.pulled, now)}</td>
              </tr>
            ))}
          </Table>
        )}
      </Card>
      <div class="two">
        <Card title="This browser">
          <SelectField
            label="Theme"
            value={theme}
            onChange={(value) => {
              choose(value as Choice);
              setTheme(value as Choice);
            }}
            options={[
              { value: "system", label: "as the system has it" },
              { value: "dark", label: "dark" },
              { value: "light", label: "light" },
            ]}
          />
          {session?.token && (
            <p class="hint">
              By the token {session.token.name}, which may: {session.scopes?.join(", ")}.
            </p>
          )}
          <p class="hint">{session?.ends_in ? `Logged in; the session ends in ${span(session.ends_in)} if nothing is asked.` : "\u00a0"}</p>
          <Button icon="out" onClick={() => void logout()}>
            Log out
          </Button>
        </Card>
        <Card title="AWS's tools">
          <p class="hint">aws, boto3 and SAM work against this Hearth once they know where it is:</p>
          <Command text={'eval "$(hearth aws-env)"'} />
          <p class="hint">
            The whole API is described at <code>/api/v1/openapi.json</code>.
          </p>
          <Button
            small
            icon="file"
            onClick={() =>
              void ask<unknown>("/api/v1/openapi.json").then((document_) => {
                const link = document.createElement("a");
                link.href = URL.createObjectURL(new Blob([JSON.stringify(document_, null, 2)], { type: "application/json" }));
                link.download = "hearth-openapi.json";
                link.click();
                URL.revokeObjectURL(link.href);
              })
            }
          >
            Download it
          </Button>
        </Card>
      </div>
    </>
  );
}
