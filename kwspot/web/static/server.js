// A request to the page's own server, asked again a little later when too many visitors wait there (503).
const TRIES = 3;

export async function request(url, options) {
  for (let n = 1; ; n++) {
    const response = await fetch(url, options);
    if (response.status !== 503 || n === TRIES) return response;
    await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("retry-after"))));
  }
}
