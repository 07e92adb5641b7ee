/** What the process will exit with: 0 success, 1 a failed job or refused request, 2 wrong usage. */
export interface ExitCode {
  code: number;
}
