(function () {
  "use strict";
  document.documentElement.classList.remove("no-js");
  function key(row, i) {
    var cell = row.cells[i], s = cell.getAttribute("data-s");
    return s === null ? cell.textContent.trim().toLowerCase() : s;
  }
  function compare(a, b) {
    var x = parseFloat(a), y = parseFloat(b);
    if (!isNaN(x) && !isNaN(y) && isFinite(a) && isFinite(b)) return x - y;
    return a < b ? -1 : a > b ? 1 : 0;
  }
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
  document.querySelectorAll(".stack table").forEach(function (table) {
    var names = Array.from(table.tHead.rows[0].cells).map(function (head) { return head.textContent; });
    Array.from(table.tBodies[0].rows).forEach(function (row) {
      Array.from(row.cells).forEach(function (cell, i) { cell.setAttribute("data-l", names[i]); });
    });
  });
  document.querySelectorAll("table[data-tools]").forEach(function (table) {
    var body = table.tBodies[0], heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, i) {
      head.querySelector("button").addEventListener("click", function () {
        var first = head.classList.contains("number") ? "descending" : "ascending";
        var other = first === "ascending" ? "descending" : "ascending";
        var next = head.getAttribute("aria-sort") === first ? other : first, sign = next === "ascending" ? 1 : -1;
        var rows = Array.from(body.rows);
        rows.sort(function (a, b) {
          var x = key(a, i), y = key(b, i);
          if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1;
          return sign * compare(x, y);
        });
        heads.forEach(function (h) { h.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", next);
        rows.forEach(function (row) { body.appendChild(row); });
      });
    });
    var input = document.querySelector('input[data-for="' + table.id + '"]');
    if (!input) return;
    var count = document.getElementById(table.id + "-count");
    input.addEventListener("input", function () {
      var words = input.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      Array.from(body.rows).forEach(function (row) {
        var text = row.textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
        if (!row.hidden) shown += 1;
      });
      count.textContent = shown + " of " + body.rows.length + " rows";
    });
  });
})();
