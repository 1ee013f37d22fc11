/* The frame of every page: navigation, time span, live state, colours, command palette, and the door where the server wants a key. */
import { ActionIcon, AppShell, Burger, Button, Kbd, Menu, UnstyledButton, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDisclosure, useHotkeys } from '@mantine/hooks';
import { IconRefresh, IconSearch, IconSettings } from '@tabler/icons-react';
import { useIsFetching, useQueryClient } from '@tanstack/react-query';
import { Outlet, useLocation } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useSyncExternalStore } from 'react';
import { get, hasKey, isLocked, lock, onLockChange } from '../api/client';
import type { Status } from '../api/types';
import { useAddress, useAsk, useBodyKeys } from '../hooks';
import { zoneName } from '../lib/time';
import { Go } from '../parts/basics';
import { Toasts } from '../parts/Toasts';
import { localZone, setPrefs, usePrefs } from '../prefs';
import { Moments } from './Moments';
import { PAGES } from './pages';
import { TimePicker } from './TimePicker';

const Palette = lazy(() => import('./Palette'));
const KeyGate = lazy(() => import('./KeyGate'));
const ZoneDialog = lazy(() => import('./Zone'));

/** Screens that show a time span. */
const TIMED = /^\/(services|dashboards\/|metrics-explorer|logs|traces|alerts\/)/;

export function Shell() {
  const locked = useSyncExternalStore(onLockChange, isLocked);
  const [menu, { toggle, close }] = useDisclosure(false);
  const [palette, { open: openPalette, close: closePalette }] = useDisclosure(false);
  const [zones, { open: openZones, close: closeZones }] = useDisclosure(false);
  const location = useLocation();
  const { kiosk } = useAddress();
  useHotkeys([['mod+K', openPalette], ['/', openPalette]]);
  useBodyKeys();
  useEffect(close, [location.pathname, close]);
  useEffect(() => {
    const page = PAGES.flatMap((group) => group.pages).find((one) => (one.to === '/' ? location.pathname === '/' : location.pathname.startsWith(one.to)));
    const rest = location.pathname.split('/')[2];
    document.title = `${page?.name ?? 'Watchfire'}${rest ? ` ${decodeURIComponent(rest).slice(0, 40)}` : ''} · Watchfire`;
  }, [location.pathname]);
  const status = useAsk(['status'], (signal) => get<Status>('/api/watchfire/v1/status', signal), { enabled: !locked });

  if (locked) return <Suspense fallback={null}><KeyGate /></Suspense>;
  // A screen on a wall: only what the page shows.
  if (kiosk === '1') return <main id="main" style={{ padding: 14 }}><Suspense fallback={null}><Outlet /></Suspense><Moments /></main>;
  const counts: Record<string, number> = { '/incidents': status.data?.open_incidents ?? 0, '/alerts': status.data?.firing_alerts ?? 0, '/paging': status.data?.queues.reduce((sum, one) => sum + one.dead, 0) ?? 0 };
  return (
    <AppShell header={{ height: 54 }} navbar={{ width: 214, breakpoint: 'sm', collapsed: { mobile: !menu } }} padding={{ base: 12, sm: 18 }}>
      <a className="skip" href="#main">Skip to the content</a>
      <AppShell.Header className="shell-header">
        <div className="row" style={{ height: '100%', padding: '0 14px', flexWrap: 'nowrap' }}>
          <Burger opened={menu} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={menu ? 'Close the navigation' : 'Open the navigation'} />
          <Go to="/" className="brand" aria-label="Watchfire, start">
            <img src="/favicon.svg" width="24" height="24" alt="" />
            <span className="hide-small">Watchfire</span>
          </Go>
          <span className="grow" />
          <UnstyledButton onClick={openPalette} visibleFrom="md" style={{ display: 'flex', gap: 8, alignItems: 'center', border: '1px solid var(--wf-edge)', borderRadius: 8, padding: '5px 10px', minWidth: 230 }} className="muted small">
            <IconSearch size={15} /> Find anything <span className="grow" /> <Kbd size="xs" aria-hidden="true">Ctrl K</Kbd>
          </UnstyledButton>
          <ActionIcon hiddenFrom="md" variant="subtle" color="gray" onClick={openPalette} aria-label="Find a page, service, metric or id"><IconSearch size={18} /></ActionIcon>
          {TIMED.test(location.pathname) && <TimePicker />}
          <Live bad={status.error !== null} />
          <Settings otherZone={openZones} />
        </div>
      </AppShell.Header>
      <AppShell.Navbar className="shell-nav" p={8} style={{ overflowY: 'auto' }}>
        <nav aria-label="Pages">
          {PAGES.map(({ group, pages }) => (
            <div key={group}>
              <div className="nav-group">{group}</div>
              {pages.map(({ to, name, icon: Sign }) => (
                <Go key={to} to={to} className="nav-link" {...(to === '/' ? { activeOptions: { exact: true } } : {})}>
                  <Sign size={18} stroke={1.7} aria-hidden="true" />
                  {name}
                  {(counts[to] ?? 0) > 0 && <span className="nav-count" aria-label={`${counts[to]} need somebody`}>{counts[to]}</span>}
                </Go>
              ))}
            </div>
          ))}
        </nav>
        <span className="grow" />
        <div className="small muted" style={{ padding: '10px' }}>{status.data ? `Watchfire ${status.data.version}` : '\u00a0'}</div>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} style={{ outline: 'none' }}>
        <div className="page">
          <Suspense fallback={null}><Outlet /></Suspense>
        </div>
      </AppShell.Main>
      {palette && <Suspense fallback={null}><Palette close={closePalette} otherZone={openZones} /></Suspense>}
      {zones && <Suspense fallback={null}><ZoneDialog close={closeZones} /></Suspense>}
      <Moments />
      <Toasts />
    </AppShell>
  );
}

const PACES: [every: number, name: string][] = [[0, 'Off'], [2_000, 'Every 2 s'], [5_000, 'Every 5 s'], [15_000, 'Every 15 s'], [60_000, 'Every minute']];

function Live({ bad }: { bad: boolean }) {
  const { every } = usePrefs();
  const client = useQueryClient();
  const busy = useIsFetching() > 0;
  const name = PACES.find(([pace]) => pace === every)?.[1] ?? 'On';
  return (
    <Menu position="bottom-end" width={190}>
      <Menu.Target>
        <Button variant="default" size="xs" px={9} aria-label={`${bad ? 'No answer' : every === 0 ? 'Paused' : 'Live'}: look again ${name}`} leftSection={<span className={`live-dot${bad ? ' bad' : every === 0 ? ' off' : ''}`} />}>
          <span className="hide-small">{bad ? 'No answer' : every === 0 ? 'Paused' : 'Live'}</span>
          <IconRefresh size={14} style={{ marginLeft: 4, opacity: busy ? 1 : 0.55 }} aria-hidden="true" />
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item onClick={() => void client.invalidateQueries()}>Look now</Menu.Item>
        <Menu.Divider />
        <Menu.Label>Look again</Menu.Label>
        {PACES.map(([pace, word]) => <Menu.Item key={pace} onClick={() => setPrefs({ every: pace })} {...(pace === every ? { fw: 700, 'aria-current': true } : {})}>{word}</Menu.Item>)}
      </Menu.Dropdown>
    </Menu>
  );
}

/** What a person chooses for every screen: colours, the zone of times, and to forget the key. */
function Settings({ otherZone }: { otherZone: () => void }) {
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme() === 'dark';
  const { zone } = usePrefs();
  const now = Date.now();
  const zones: [zone: string, name: string][] = [['local', `This machine's (${zoneName(now, localZone)})`], ['UTC', 'UTC'], ...(zone === 'local' || zone === 'UTC' ? [] : [[zone, zone] as [string, string]])];
  return (
    <Menu position="bottom-end" width={230}>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label="Settings: colours, time zone"><IconSettings size={18} /></ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item onClick={() => setColorScheme(dark ? 'light' : 'dark')}>{dark ? 'Light colours' : 'Dark colours'}</Menu.Item>
        <Menu.Divider />
        <Menu.Label>Times are shown in</Menu.Label>
        {zones.map(([one, name]) => <Menu.Item key={one} onClick={() => setPrefs({ zone: one })} {...(one === zone ? { fw: 700, 'aria-current': true } : {})}>{name}</Menu.Item>)}
        <Menu.Item onClick={otherZone}>Another zone…</Menu.Item>
        {hasKey() && <><Menu.Divider /><Menu.Item onClick={lock}>Forget the API key</Menu.Item></>}
      </Menu.Dropdown>
    </Menu>
  );
}
