/* Markdown as elements. Raw HTML in it stays text, images are links (no request leaves this server), links to elsewhere open apart. */
import ReactMarkdown from 'react-markdown';
import remarkGfm from 'remark-gfm';

const safe = (url: string): string => (/^(https?:|mailto:|\/|#)/i.test(url) ? url : '');

export default function Markdown({ text }: { text: string }) {
  return (
    <div className="markdown">
      <ReactMarkdown
        remarkPlugins={[remarkGfm]}
        urlTransform={safe}
        components={{
          a: ({ href, children }) => (href ? <a href={href} target={href.startsWith('/') || href.startsWith('#') ? undefined : '_blank'} rel="noreferrer noopener">{children}</a> : <>{children}</>),
          img: ({ src, alt }) => <a href={typeof src === 'string' ? src : undefined} target="_blank" rel="noreferrer noopener">{alt || 'picture'}</a>,
          // Work through them in the file itself: here they only show how it stands.
          input: ({ checked }) => <span role="img" aria-label={checked ? 'done' : 'to do'}>{checked ? '☑' : '☐'}</span>,
          pre: ({ children }) => <pre tabIndex={0}>{children}</pre>,
          table: ({ children }) => <table tabIndex={0}>{children}</table>,
          // The page has its own first heading.
          h1: ({ children }) => <h2 style={{ fontSize: '1.35rem' }}>{children}</h2>,
          h2: ({ children }) => <h3 style={{ fontSize: '1.1rem' }}>{children}</h3>,
          h3: ({ children }) => <h4>{children}</h4>,
        }}
      >
        {text}
      </ReactMarkdown>
    </div>
  );
}
