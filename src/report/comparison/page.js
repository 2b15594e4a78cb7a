for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("th")];
  const body = table.tBodies[0];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const compare = (one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      const [x, y] = [a.dataset.value, b.dataset.value];
      if (x !== undefined && y !== undefined) return sign * (x - y);
      // Absent numbers stay last.
      if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1;
      return sign * a.textContent.localeCompare(b.textContent);
    };
    body.append(...[...body.rows].sort(compare));
  }));
}
