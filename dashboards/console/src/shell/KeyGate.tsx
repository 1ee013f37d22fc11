/* Shown instead of every page where the server wants an API key. The key is kept for this tab only. */
import { Button, PasswordInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { unlock } from '../api/client';
import { Snippet, Trouble } from '../parts/basics';

export default function KeyGate() {
  const [key, setKey] = useState('');
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const client = useQueryClient();
  const go = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await unlock(key);
      await client.resetQueries();
    } catch (problem) {
      setError(problem as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main style={{ maxWidth: 460, margin: '12vh auto', padding: 16 }}>
      <form className="panel stack" onSubmit={(event) => void go(event)}>
        <div className="brand"><img src="/favicon.svg" width="30" height="30" alt="" /> Watchfire</div>
        <h1 style={{ margin: 0, fontSize: 18 }}>This server asks for an API key</h1>
        <PasswordInput label="API key" description="It is kept for this tab only, until you close it." placeholder="wf_..." value={key} onChange={(event) => setKey(event.currentTarget.value)} autoFocus autoComplete="current-password" required />
        {error && <Trouble error={error} />}
        <Button type="submit" loading={busy} disabled={key.trim() === ''}>Open the console</Button>
        <div className="small muted">No key yet? On the server's machine:</div>
        <Snippet text="watchfire keys create my-name" />
      </form>
    </main>
  );
}
