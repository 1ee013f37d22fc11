/* Date, time and zone of the time that has the focus or was tapped: what a mouse sees in its `title`. One for the whole page, and nothing moves for it. */
import { useEffect, useState } from 'react';
import { relative, wholeMoment } from '../lib/time';
import { localZone, useZone } from '../prefs';

const WIDTH = 250;

export function Moments() {
  const zone = useZone();
  const [shown, setShown] = useState<{ at: number; left: number; top: number } | null>(null);
  useEffect(() => {
    let of: HTMLElement | null = null;
    const hide = (): void => {
      if (of === null) return;
      of.removeAttribute('aria-describedby');
      of = null;
      setShown(null);
    };
    const show = (event: Event): void => {
      const time = event.target instanceof Element ? event.target.closest<HTMLTimeElement>('time[datetime][tabindex]') : null;
      if (time === of) return;
      hide();
      if (time === null) return;
      of = time;
      time.setAttribute('aria-describedby', 'moment');
      const box = time.getBoundingClientRect();
      // Below, unless that is below the screen.
      setShown({ at: Date.parse(time.dateTime), left: Math.max(6, Math.min(box.left, document.documentElement.clientWidth - WIDTH - 20)), top: box.bottom + 84 < innerHeight ? box.bottom + 6 : Math.max(6, box.top - 80) });
    };
    const key = (event: KeyboardEvent): void => { if (event.key === 'Escape') hide(); };
    document.addEventListener('focusin', show);
    document.addEventListener('click', show);
    document.addEventListener('focusout', hide);
    document.addEventListener('keydown', key);
    addEventListener('scroll', hide, { capture: true, passive: true });
    addEventListener('resize', hide);
    return () => {
      document.removeEventListener('focusin', show);
      document.removeEventListener('click', show);
      document.removeEventListener('focusout', hide);
      document.removeEventListener('keydown', key);
      removeEventListener('scroll', hide, { capture: true });
      removeEventListener('resize', hide);
    };
  }, []);
  if (shown === null) return null;
  return (
    <div id="moment" role="tooltip" className="moment nums" style={{ left: shown.left, top: shown.top, width: WIDTH }}>
      {wholeMoment(shown.at, zone, localZone).map((one) => <div key={one}>{one}</div>)}
      <div className="muted">{relative(shown.at, Date.now())}</div>
    </div>
  );
}
