// Headers of sortable tables become buttons; without this script the tables stand as written.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const written = [...body.rows];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = written.some((row) => numeric(row.cells[column]) !== null);
      const first = numbers ? "descending" : "ascending";
      const before = head.getAttribute("aria-sort");
      const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const sorted = [...written].sort((a, b) => compare(a.cells[column], b.cells[column], sign));
      body.append(...sorted);
    });
  });
}

// The number that a cell begins with, or null.
function numeric(cell) {
  const found = /^[-+\u2212]?[\d,]*\.?\d+/.exec(cell.textContent.trim());
  return found ? Number(found[0].replaceAll(",", "").replace("\u2212", "-")) : null;
}

// Cells without a number come last in either order; texts are compared where there are no numbers.
function compare(a, b, sign) {
  const x = numeric(a);
  const y = numeric(b);
  if (x !== null && y !== null) return sign * (x - y);
  if (x !== null || y !== null) return x !== null ? -1 : 1;
  return sign * a.textContent.localeCompare(b.textContent, "en");
}
