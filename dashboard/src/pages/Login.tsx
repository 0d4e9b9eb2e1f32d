// The first page: shows who is asked for, and where the token is.
import { useState } from "preact/hooks";
import { login } from "../api/client";
import { useAction } from "../api/use";
import { Flame } from "../ui/icons";
import { Button, Command, ErrorBox, TextField } from "../ui/parts";

export function Login({ entering, error, onIn }: { entering: boolean; error: unknown; onIn: () => void }) {
  const [token, setToken] = useState("");
  const enter = useAction(async () => {
    await login({ token: token.trim() });
    onIn();
  });
  return (
    <main class="login">
      <form
        class="login-card"
        onSubmit={(event) => {
          event.preventDefault();
          void enter.run();
        }}
      >
        <div class="login-brand">
          <Flame size={44} />
          <h1>Hearth</h1>
          <p>Functions on your own machine.</p>
        </div>
        {entering ? (
          <p role="status" class="hint">
            Logging in with the link…
          </p>
        ) : (
          <>
            <TextField
              label="Token"
              type="password"
              value={token}
              onInput={setToken}
              placeholder="hth_…"
              required
              autoFocus
              mono
              hint="The admin token, which Hearth made at its first start. It goes to this server only, for a session of at most 12 hours."
            />
            <ErrorBox error={enter.error ?? error} />
            <Button type="submit" kind="primary" busy={enter.busy}>
              Log in
            </Button>
            <details>
              <summary>Where is the token?</summary>
              <p class="hint">In the file admin.token of the data directory, of which `hearth up` tells the place:</p>
              <Command text="sudo cat /var/lib/hearth/admin.token" />
            </details>
          </>
        )}
      </form>
    </main>
  );
}
