// Draws every figure once per colour scheme. The style sheet shows the right drawing, so that a page viewed in dark mode is printed in light colours.
(() => {
  const { specs, themes } = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();

  // Saved pictures are for papers and slides: always the light drawing, on white.
  const save = (view, name, kind) => async () => {
    const link = document.createElement("a");
    const background = view.background();
    link.download = `${name}.${kind}`;
    link.href = await view.background("white").toImageURL(kind, 2);
    view.background(background);
    link.click();
  };

  const buttons = (view, name) => {
    const bar = document.createElement("div");
    bar.className = "save";
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.title = `Save this figure as ${kind.toUpperCase()}`;
      button.addEventListener("click", save(view, name, kind));
      bar.append(button);
    }
    return bar;
  };

  // A narrow page gets narrower views and fewer panels in a row.
  const fitted = (spec, room) => {
    const inner = spec.spec ?? spec.concat?.[0] ?? spec;
    const across = inner.width?.step ? inner.width.step * 12 : inner.width;
    if (typeof across === "number") {
      if (spec.columns) spec.columns = Math.max(1, Math.min(spec.columns, Math.round(room / (across + 50))));
      const views = spec.concat ?? [spec.spec ?? spec];
      if (!inner.width.step) for (const view of views) view.width = Math.min(view.width, Math.max(120, room - 80));
    }
    return spec;
  };

  // A drawing fills its card, but its letters stay readable.
  const size = (figure, svg) => {
    const width = svg.viewBox.baseVal.width;
    svg.style.minWidth = `${0.6 * width}px`;
    svg.style.maxWidth = `${1.3 * width}px`;
    figure.parentElement.classList.toggle("wide", width > 450);
  };

  const draw = async (spec, place, scheme) => {
    const figure = document.getElementById(`figure-${place}`);
    const chart = document.createElement("div");
    chart.className = `in-${scheme}`;
    figure.append(chart);
    try {
      const options = { renderer: "svg", actions: false, config: themes[scheme], tooltip: { theme: scheme } };
      const { view } = await vegaEmbed(chart, fitted(structuredClone(spec), figure.parentElement.parentElement.clientWidth - 44), options);
      size(figure, chart.querySelector("svg"));
      chart.classList.add(`in-${scheme}`); // vegaEmbed sets classes of its own
      if (scheme === "light") figure.nextElementSibling.append(buttons(view, figure.dataset.name));
    } catch (error) {
      chart.textContent = `This figure could not be drawn: ${error.message}`;
      throw error;
    }
  };

  const drawAll = async (scheme) => {
    if (drawn.has(scheme)) return;
    drawn.add(scheme);
    await Promise.all(specs.map((spec, place) => draw(spec, place, scheme)));
  };

  dark.addEventListener("change", () => drawAll(dark.matches ? "dark" : "light"));
  drawAll(dark.matches ? "dark" : "light").then(() => drawAll("light"));
})();
