// Draws every figure in the colours of the reader's scheme, and again when the scheme changes.
(() => {
  const { specs, themes } = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const save = (view, kind) => async () => {
    const link = document.createElement("a");
    link.download = `${view.figureName}.${kind}`;
    link.href = await view.toImageURL(kind, 2);
    link.click();
  };

  const buttons = (view) => {
    const bar = document.createElement("div");
    bar.className = "save";
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.title = `Save this figure as ${kind.toUpperCase()}`;
      button.addEventListener("click", save(view, kind));
      bar.append(button);
    }
    return bar;
  };

  const draw = async (spec, place) => {
    const figure = document.getElementById(`figure-${place}`);
    const chart = document.createElement("div");
    try {
      const options = { renderer: "svg", actions: false, config: themes[dark.matches ? "dark" : "light"], tooltip: { theme: dark.matches ? "dark" : "light" } };
      const { view } = await vegaEmbed(chart, structuredClone(spec), options);
      view.figureName = figure.dataset.name;
      figure.replaceChildren(chart, buttons(view));
    } catch (error) {
      figure.textContent = `This figure could not be drawn: ${error.message}`;
      throw error;
    }
  };

  const drawAll = () => Promise.all(specs.map(draw));
  dark.addEventListener("change", drawAll);
  drawAll();
})();
