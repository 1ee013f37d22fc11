/* An annotation: what it points to as a link, anything else as the text that it is. */
import { evidence } from '../lib/alerts';
import { Go } from './basics';

/** `span`: the time of the alert, in which an example line is searched. */
export function Evidence({ name, value, span }: { name: string; value: string; span: { from: string; to: string } }) {
  const found = evidence(name, value);
  if ('href' in found) return <a href={found.href} target="_blank" rel="noreferrer noopener">{value}</a>;
  if (!('to' in found)) return <span className="wrap">{value}</span>;
  return <Go to={found.to} {...(found.search ? { search: { ...found.search, ...span } } : {})}><span className="wrap">{found.text}</span></Go>;
}
