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

  const draw = async (spec, place, scheme) => {
    const figure = document.getElementById(`figure-${place}`);
    const chart = document.createElement("div");
    chart.className = `in-${scheme}`;
    figure.append(chart);
    try {
      const options = { renderer: "svg", actions: false, config: themes[scheme], tooltip: { theme: scheme } };
      const { view } = await vegaEmbed(chart, structuredClone(spec), options);
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
