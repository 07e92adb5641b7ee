// msgpackr catches this and uses its JavaScript reader. Exporting an empty object
// instead would make it believe that native acceleration is there.
throw new Error("msgpackr-extract is not installed: the JavaScript reader is used");
