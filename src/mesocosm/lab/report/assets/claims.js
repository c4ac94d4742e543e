// Sorts, filters and opens the claims table. Without this script the page shows everything in the paper's order.
(() => {
  const table = document.querySelector(".claims");
  const controls = document.querySelector(".controls");
  const [search, status, openAll] = ["input", "[role=status]", ".open-all"].map((part) => controls.querySelector(part));
  const toggles = [...controls.querySelectorAll("[data-verdict]")];
  const urgency = ["fails", "inconclusive", "holds", "not judged"];

  const claims = [...table.tBodies].map((body, place) => ({
    body,
    claim: place,
    verdict: urgency.indexOf(body.dataset.verdict),
    n: Number(body.dataset.n),
    title: body.rows[0].textContent.toLowerCase(),
    checks: [...body.querySelectorAll(".row")].map((row) => {
      const behind = row.nextElementSibling?.matches(".evidence") ? row.nextElementSibling : null;
      return { row, behind, verdict: row.dataset.verdict, text: `${row.textContent} ${behind?.textContent ?? ""}`.toLowerCase() };
    }),
  }));
  const total = claims.reduce((sum, claim) => sum + claim.checks.length, 0);

  const filter = () => {
    const words = search.value.trim().toLowerCase();
    const wanted = toggles.filter((toggle) => toggle.ariaPressed === "true").map((toggle) => toggle.dataset.verdict);
    let shown = 0;
    for (const { body, title, checks } of claims) {
      const whole = title.includes(words);
      let left = 0;
      for (const { row, behind, verdict, text } of checks) {
        const visible = (whole || text.includes(words)) && (wanted.length === 0 || wanted.includes(verdict));
        row.hidden = !visible;
        if (behind) behind.hidden = !visible;
        left += visible;
      }
      body.hidden = left === 0;
      shown += left;
    }
    status.textContent = shown === total ? "" : `${shown} of ${total} checks shown`;
  };

  const sort = (head, key) => {
    const falling = head.ariaSort === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.ariaSort = falling ? "descending" : "ascending";
    const sign = falling ? -1 : 1;
    table.append(...[...claims].sort((a, b) => sign * (a[key] - b[key]) || a.claim - b.claim).map(({ body }) => body));
  };

  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, head.dataset.sort));
    head.append(button);
  }
  for (const toggle of toggles) {
    toggle.addEventListener("click", () => {
      toggle.ariaPressed = String(toggle.ariaPressed !== "true");
      filter();
    });
  }
  search.addEventListener("input", filter);
  openAll.addEventListener("click", () => {
    const all = [...table.querySelectorAll("details")];
    const open = all.some((details) => !details.open);
    for (const details of all) details.open = open;
    openAll.textContent = open ? "Close all evidence" : "Open all evidence";
  });
  controls.hidden = false;
  filter(); // browsers keep the typed text when the user returns to the page
})();
