/* Short notices in a corner, read out by screen readers. */
import { useSyncExternalStore } from 'react';

interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

let toasts: Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function change(to: Toast[]): void {
  toasts = to;
  for (const listener of listeners) listener();
}

export function toast(text: string, bad = false): void {
  const id = next++;
  change([...toasts, { id, text, bad }].slice(-4));
  setTimeout(() => change(toasts.filter((one) => one.id !== id)), bad ? 10_000 : 5_000);
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (then) => {
      listeners.add(then);
      return () => listeners.delete(then);
    },
    () => toasts,
  );
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((one) => (
        <div key={one.id} className={one.bad ? 'toast bad' : 'toast'}>{one.text}</div>
      ))}
    </div>
  );
}
