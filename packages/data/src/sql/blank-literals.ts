/**
 * What PostgreSQL's own lexer takes for one piece: a quoted name, a string with escapes (which may go on in the next
 * line), one without, a comment, a string in dollars. `e` and `$` begin one only where no name is under way.
 */
const PIECES =
  /"(?:[^"]|"")*"|(?<![\w$\u0080-\uffff])e'(?:[^'\\]|\\[\s\S]|'')*'(?:\s*[\n\r]\s*'(?:[^'\\]|\\[\s\S]|'')*')*|'(?:[^']|'')*'|--[^\n\r]*|\/\*[\s\S]*?\*\/|(?<![\w$\u0080-\uffff])\$([a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$[\s\S]*?\$\1\$/gi;

/**
 * The text with strings and comments blanked out, so that words in them mean nothing. Quoted names stay.
 * @param onNested Called for a comment inside a comment, behind which nothing is sure.
 */
export const blankLiterals = (text: string, onNested: () => void): string =>
  text.replaceAll(PIECES, (piece) => {
    if (piece.startsWith("/*") && piece.includes("/*", 2)) onNested();
    return piece.startsWith('"') ? piece : " ";
  });
