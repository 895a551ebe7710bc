// Ticks as the agent tells them. While none comes, whoever asked for them has to poll.

const QUIET_MS = 2500;
const AGAIN_MS = 30_000;

let toldAt = -Infinity;

export const isTelling = () => performance.now() - toldAt < QUIET_MS;

export function follow(onTick) {
  const stream = new EventSource("/api/v1/stream");
  stream.addEventListener("tick", (event) => {
    toldAt = performance.now();
    onTick(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    // The browser comes back by itself after a broken connection; not after a refusal.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => follow(onTick), AGAIN_MS);
  });
}
