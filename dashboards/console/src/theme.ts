/* Colours and sizes. Severity and status colours live in styles.css, where their contrast is kept for light and dark. */
import { createTheme, type MantineColorsTuple } from '@mantine/core';

const ember: MantineColorsTuple = ['#fff3e8', '#ffe4cf', '#ffc79b', '#ffa862', '#fd8d36', '#f97a18', '#e8590c', '#c2470a', '#a13b0b', '#83310c'];
const slate: MantineColorsTuple = ['#d5d8df', '#b9bec9', '#a3a9b6', '#7f8694', '#5d6472', '#3c424e', '#2b303a', '#20242c', '#191c23', '#12151a'];

export const theme = createTheme({
  primaryColor: 'ember',
  primaryShade: 7,
  autoContrast: true,
  luminanceThreshold: 0.35,
  colors: { ember, dark: slate },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace',
  headings: { fontWeight: '650', sizes: { h1: { fontSize: '1.35rem' }, h2: { fontSize: '1.05rem' }, h3: { fontSize: '0.95rem' } } },
  defaultRadius: 'md',
  cursorType: 'pointer',
  components: {
    Tooltip: { defaultProps: { openDelay: 300, withinPortal: true } },
    Modal: { defaultProps: { centered: true, closeButtonProps: { 'aria-label': 'Close' } } },
    // The first entry has the focus, as menus do it; the empty element before it is nothing that a menu may hold.
    Menu: { defaultProps: { withInitialFocusPlaceholder: false } },
    // A name needs a role.
    Skeleton: { defaultProps: { radius: 'sm', role: 'progressbar', 'aria-label': 'Loading' } },
  },
});

/** Distinct on light and dark grounds, and for most colour-blind people in this order. */
export const SERIES = ['#3b82f6', '#f97316', '#10b981', '#a855f7', '#eab308', '#06b6d4', '#ec4899', '#84cc16', '#ef4444', '#8b5cf6', '#14b8a6', '#f59e0b'];
