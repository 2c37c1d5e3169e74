// Sorts and filters the large tables. Without this script they stand there whole and open.
"use strict";
(() => {
  const COMPARE = new Intl.Collator(undefined, { numeric: true }).compare;

  // A cell's place: what it says, or the number in it ("[−0.98, −0.57]" by its lower end); null where there is none.
  function keyOf(cell, numeric) {
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    if (!numeric) return text;
    const number = parseFloat(text.replace("[", "").replaceAll("−", "-"));
    return Number.isNaN(number) ? null : number;
  }

  function sort(table, column, direction) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, place) => {
      if (place === column) heading.setAttribute("aria-sort", direction);
      else heading.removeAttribute("aria-sort");
    });
    const body = table.tBodies[0];
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => {
      const cell = row.cells[column];
      return { row, key: keyOf(cell, cell.classList.contains("number")) };
    });
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // unknown is always last
      return sign * (typeof a.key === "number" ? a.key - b.key : COMPARE(a.key, b.key));
    });
    body.append(...keyed.map((item) => item.row));
  }

  // The order is in the address, so that a link shows what its sender saw.
  function remember(table, column, direction) {
    history.replaceState(null, "", `#sort=${table.id}.${column}.${direction}`);
  }

  function addSorting(table) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        sort(table, column, direction);
        remember(table, column, direction);
      });
    });
  }

  function addFilter(table) {
    const rows = [...table.tBodies[0].rows];
    const tools = document.createElement("div");
    tools.className = "tools";
    const words = document.createElement("input");
    words.type = "search";
    words.placeholder = "filter, e.g. fog 5";
    words.setAttribute("aria-label", `filter ${table.id} by words`);
    const verdict = document.createElement("select");
    verdict.setAttribute("aria-label", `filter ${table.id} by verdict`);
    const ranks = new Map(rows.map((row) => {
      const cell = row.querySelector("[data-value]");
      return [cell.textContent, Number(cell.dataset.value)];
    }));
    verdict.append(new Option("all verdicts", ""));
    [...ranks].sort((a, b) => a[1] - b[1]).forEach(([name]) => verdict.append(new Option(name, name)));
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent.toLowerCase()));
    function filter() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, place) => {
        // A number must be a whole cell: 5 is the severity, not each 0.05.
        const found = wanted.every((word) => texts[place].some((text) => isNaN(word) ? text.includes(word) : text === word));
        const fits = !verdict.value || row.querySelector("[data-value]").textContent === verdict.value;
        row.hidden = !(found && fits);
        shown += !row.hidden;
      });
      count.textContent = `${shown} of ${rows.length}`;
    }
    words.addEventListener("input", filter);
    verdict.addEventListener("change", filter);
    tools.append(words, verdict, count);
    table.closest("details").querySelector("summary").after(tools);
    filter();
  }

  function applyAddress() {
    const [, id, column, direction] = location.hash.match(/^#sort=([\w-]+)\.(\d+)\.(ascending|descending)$/) ?? [];
    const table = id && document.getElementById(id);
    if (table?.matches(".sortable") && Number(column) < table.tHead.rows[0].cells.length) {
      sort(table, Number(column), direction);
    }
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    addSorting(table);
    addFilter(table);
  });
  applyAddress();
})();
