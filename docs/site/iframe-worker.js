// Chromium starts no Worker on a page that was opened from disk. There, the search's worker runs in a hidden frame, which
// has the same few functions: postMessage, messages, importScripts. The theme asks for `IFrameWorker` by this name.
"use strict";
if (location.protocol === "file:") {
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      const room = frame.contentWindow;
      const inside = frame.contentDocument;
      const load = (source) => new Promise((resolve, reject) => {
        const script = inside.createElement("script");
        script.src = source;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`not loaded: ${source}`));
        inside.body.append(script);
      });
      room.importScripts = (...sources) => sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve());
      room.postMessage = (data) => setTimeout(() => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      });
      this.ready = load(new URL(url, document.baseURI).href);
      this.room = room;
    }

    postMessage(data) {
      this.ready.then(() => this.room.dispatchEvent(new this.room.MessageEvent("message", { data })));
    }

    terminate() {}
  }
  window.IFrameWorker = window.Worker = IFrameWorker;
}
