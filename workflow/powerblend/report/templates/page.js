"use strict";
// A click on a column's heading sorts the table by it: numbers by value, words behind them by the
// alphabet; another click turns the order round. Rows that are equal keep their order.

function valueOf(cell) {
  const text = cell.textContent.trim();
  const number = /^[+\u2212-]?[\d,]*\.?\d+/.exec(text);
  return number ? parseFloat(number[0].replace("\u2212", "-").replaceAll(",", "")) : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return a.localeCompare(b);
}

function sort(table, column) {
  const headings = [...table.tHead.rows[0].cells];
  const turned = headings[column].ariaSort === "ascending" ? -1 : 1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort((a, b) => turned * compare(a[0], b[0]));
  body.append(...rows.map((pair) => pair[1]));
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].ariaSort = turned > 0 ? "ascending" : "descending";
}

for (const table of document.querySelectorAll("main table")) {
  if (!table.tHead || !table.tBodies.length || table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.tabIndex = 0;
    heading.title = "sort by this column";
    heading.classList.add("sorts");
    heading.addEventListener("click", () => sort(table, column));
    heading.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sort(table, column);
      }
    });
  });
}
