/* Search on pages that are opened as files, without a server: browsers start no worker there, so
 * its script runs in a hidden frame. The theme's worker asks for IFrameWorker by this name. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      const page = this.inside.document;
      page.open(); // Firefox would replace an empty page later, and the worker with it
      page.write("<!doctype html><title>search</title>");
      page.close();
      const load = (src) =>
        new Promise((done, failed) => {
          const script = page.createElement("script");
          Object.assign(script, { src, onload: done, onerror: failed });
          page.head.append(script);
        });
      this.inside.postMessage = (data) =>
        this.dispatchEvent(new MessageEvent("message", { data }));
      this.inside.importScripts = (...urls) =>
        urls.reduce((before, src) => before.then(() => load(src)), Promise.resolve());
      this.loaded = load(url);
    }

    postMessage(data) {
      this.loaded.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
