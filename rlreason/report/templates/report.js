const bar = document.getElementById("filter"), rows = [...document.querySelectorAll("#samples tbody tr")];
if (bar) {
  const [text, status] = bar.querySelectorAll("input, select");
  const apply = () => rows.forEach(row => row.hidden =
    !row.textContent.toLowerCase().includes(text.value.toLowerCase()) ||
    (status.value && !row.dataset.status.split(" ").includes(status.value)));
  bar.hidden = false;
  bar.addEventListener("input", apply);
}
