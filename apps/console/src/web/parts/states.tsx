import type { ReactNode } from "react";

/** Nothing here yet, and what to do about it. */
export const EmptyState = ({
  title,
  children,
}: {
  readonly title: string;
  readonly children?: ReactNode;
}): ReactNode => (
  <section className="state">
    <h2>{title}</h2>
    {children === undefined ? null : <div>{children}</div>}
  </section>
);

/** What failed, and what happens next where it goes on by itself. */
export const ErrorState = ({
  title,
  message,
  children,
}: {
  readonly title: string;
  readonly message: string;
  readonly children?: ReactNode;
}): ReactNode => (
  <section className="state error" role="alert">
    <h2>{title}</h2>
    <p>{message}</p>
    {children}
  </section>
);

/** A state that the console has never seen since it began to look: it asks again every second. */
export const UnseenState = ({
  title,
  message,
}: {
  readonly title: string;
  readonly message: string;
}): ReactNode => (
  <ErrorState title={title} message={message}>
    <p className="muted">It is asked again every second, and appears here by itself.</p>
  </ErrorState>
);

/** Grey shapes where content will be; announced once to screen readers. */
export const LoadingState = ({ lines = 4 }: { readonly lines?: number }): ReactNode => (
  <section className="state loading" aria-busy="true" aria-label="Loading">
    {Array.from({ length: lines }, (_, line) => `line-${line}`).map((key) => (
      <span className="skeleton" key={key} />
    ))}
  </section>
);
