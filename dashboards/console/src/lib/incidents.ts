/* What an incident's record says of its time. Pure. */
import type { Incident } from '../api/types';

/** When it was resolved, or turned out to be none; null while it lasts. */
export const endOf = (incident: Pick<Incident, 'clocks'>): string | null => incident.clocks.resolved ?? incident.clocks.cancelled ?? null;
