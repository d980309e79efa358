// Reads ptefoundry registries with plain GET: one file for Node 20.11 or newer; docs/clients.md.
// plan|prefetch|pull REGISTRY NAME:CHANNEL|NAME@VERSION --to FOLDER --backends xnnpack,.. --runtime
// 1.5.1|any [--adapter NAME] [--memory BYTES] [--foundation DIGEST] [--keys FILE,..]
import { createHash, verify } from "node:crypto";
import * as fs from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { gunzipSync } from "node:zlib";

type Json = { [key: string]: any };
const [TRIES, STALL_MS, LARGEST, LARGE] = [4, 30_000, 2 ** 50, 32 << 10];
const [RECORD_LIMIT, SMALL_LIMIT, DOCUMENT_LIMIT] = [64 << 10, 1 << 20, 8 << 20];
const [OCI, MODEL] = ["application/vnd.oci.image", "application/vnd.cncf.model"];
const [OURS, TITLE] = ["application/vnd.ptefoundry", "org.opencontainers.image.title"];
const INDEX = { mediaType: `${OCI}.index.v1+json`, artifactType: `${OURS}.bundle.v1+json` };
const VARIANT = { mediaType: `${OCI}.manifest.v1+json`, artifactType: `${MODEL}.manifest.v1+json` };
const LAYER_TYPE = /^application\/vnd\.cncf\.model\.weight(\.config)?\.v1\.raw$/;
const [NAME, WORD] = [/^(?=.{1,64}$)[a-z0-9]+(?:[._-][a-z0-9]+)*$/, /^\w[\w.-]{0,63}$/];
const SEMVER = /^(?=.{1,64}$)[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?$/;
const BASE64 = /^(?:[A-Za-z0-9+\/]{4})*(?:[A-Za-z0-9+\/]{3}=|[A-Za-z0-9+\/]{2}==)?$/;
const [INT, TIME] = [/^(?:0|[1-9][0-9]{0,15})$/, /^[0-9]{4}(-[0-9]{2}){2}T[0-9:]{8}Z$/];
const RUNTIME = /^>=[0-9]{1,6}(?:\.[0-9]{1,6}){2},<[0-9]{1,6}(?:\.[0-9]{1,6}){2}$/;
const PATH = /^(?=.{1,512}$)\w(?:[\w.+-]{0,126}[\w+-])?(?:\/\w(?:[\w.+-]{0,126}[\w+-])?)*$/;
const TAKEN = /^(measured\.json|signatures)(\/|$)|(^|\/)(con|prn|aux|nul|(com|lpt)[0-9])([.\/]|$)/i;
const SIZED = { digest: /^sha256:[0-9a-f]{64}$/, size: upTo(LARGEST) };
const MUST = { backend: WORD, adapter: WORD, method: WORD, program: PATH, size: INT, memory: INT };
const MAY = { foundation: SIZED.digest, "foundation.size": INT, runtime: RUNTIME };

/** Why something was refused; `kind` is what an app acts upon (docs/clients.md). */
export class ClientError extends Error {
  constructor(readonly kind: string, text: string) { super(text); }
}

/** A registry as a device sees it; `folder` keeps what was fetched and what was seen. */
export class Client {
  constructor(private url: string, private folder: string, private keys: string[]) {
    expect(/^https?:\/\//.test(url), url, "expected an address https://...");
    this.url = url.replace(/\/+$/, "") + "/";
    fs.mkdirSync(`${folder}/blobs/sha256`, { recursive: true });
  }

  /** Find which version `name:channel` or `name@version` is, and its variants. */
  async resolve(reference: string): Promise<[Json, Json[]]> {
    const [, name = "", sign = "", rest = ""] = /^([^:@]*)([:@]?)(.*)$/s.exec(reference) ?? [];
    check({ name, rest }, { name: NAME, rest: sign === ":" ? NAME : SEMVER }, reference);
    const found = sign === ":" ? await this.channel(name, rest) : await this.ref(name, rest);
    const [version, where] = [String(found.version), `${name}@${found.version}`];
    const note = await this.get(`yanks/${name}/${version}.json`, SMALL_LIMIT);
    const yanked = note === null ? null : String(parse(note, where).reason);
    expect(sign === "@" || yanked === null, where, `it was yanked: ${show(yanked)}`, "yanked");
    const index = await this.document(found, where);
    check(index, { schemaVersion: 2, ...INDEX, manifests: Array.isArray }, where);
    check(index.annotations, { [TITLE]: name, "org.opencontainers.image.version": version }, where);
    const variants: Json[] = index.manifests.map((one: Json) => this.variant(one, one, where));
    const count = new Set(variants.map((one) => `${one.backend}/${one.adapter}`)).size;
    expect(count > 0 && count === variants.length, where, "expected each variant once");
    return [{ name, version, yanked }, variants];
  }

  private async channel(name: string, channel: string): Promise<Json> {
    const key = `channels/${name}/${channel}.json`;
    const data = await this.get(key, RECORD_LIMIT);
    const record = parse(this.open(parse(data, key), key), key);
    check(record, { format: 1, name, channel, version: SEMVER, ...SIZED, number: upTo(1e8) }, key);
    if (this.keys.length > 0 || (record.expires ?? null) !== null) {
      check(record, { expires: TIME }, key, "untrusted");
      const isCurrent = new Date().toISOString().slice(0, 19) + "Z" < record.expires;
      expect(isCurrent, key, `it expired on ${record.expires}`, "untrusted");
    }
    const seen = `${this.folder}/seen.json`;
    const known = fs.existsSync(seen) ? parse(fs.readFileSync(seen), seen) : {};
    const digest = "sha256:" + createHash("sha256").update(data!).digest("hex");
    const [asked, number] = [`${this.url} ${name}:${channel}`, record.number];
    const [last, old] = known[asked] ?? [0, null];
    expect(number >= last, key, `number ${number} is older than ${last}, seen`, "untrusted");
    const previous = last > 0 ? (record.previous ?? null) : null;
    const next = number === last ? digest : number === last + 1 ? previous : old;
    expect(next === old, key, `number ${number} is of another history than ${last}`, "untrusted");
    fs.writeFileSync(`${seen}.new`, JSON.stringify({ ...known, [asked]: [number, digest] }));
    fs.renameSync(`${seen}.new`, seen);
    return record;
  }

  private async ref(name: string, version: string): Promise<Json> {
    const key = `refs/${name}/${version}.json`;
    expect(this.keys.length === 0, key, "with keys, ask for a channel", "untrusted");
    const ref = parse(await this.get(key, SMALL_LIMIT), key);
    check(ref, { format: 1, name, version, ...SIZED }, key);
    check(ref, { removed: null }, key, "missing");
    return ref;
  }

  /** List the files of a variant as they are of use: path, digest, size. */
  async files(variant: Json): Promise<Json[]> {
    const where = `${variant.backend}/${variant.adapter}`;
    const manifest = await this.document(variant.manifest, where);
    check(manifest, { schemaVersion: 2, ...VARIANT, layers: Array.isArray }, where);
    check(this.variant(manifest, variant.manifest, where), variant, where);
    const files: Json[] = manifest.layers.map((layer: Json) => {
      check(layer, { ...SIZED, mediaType: LAYER_TYPE, annotations: isObject }, where);
      const path = layer.annotations[TITLE];
      check(layer.annotations, { [TITLE]: PATH, "org.cncf.model.filepath": path }, where);
      expect(!TAKEN.test(path), where, `${path} is the name of something else`);
      return { path, digest: layer.digest, size: layer.size };
    });
    const names: string[] = files.map((file) => file.path.toLowerCase());
    const isFolder = (path: string): boolean => names.some((name) => name.startsWith(`${path}/`));
    const clash = new Set(names).size < names.length || names.some(isFolder);
    expect(!clash, where, "two paths mean one file, or one is a folder of another");
    expect(names.at(-1) === "manifest.json", where, "expected manifest.json last");
    check(variant, { size: String(files.reduce((sum, file) => sum + file.size, 0)) }, where);
    const first = { foundation: files[0]!.digest, "foundation.size": String(files[0]!.size) };
    check(variant, variant.foundation === null ? {} : first, where);
    return files;
  }

  /** Get a file: what is there of it is verified, what lacks is fetched; returns its place. */
  async fetch(file: Json): Promise<string> {
    const key = `blobs/sha256/${file.digest.slice(7)}`;
    const blob = `${this.folder}/${key}`;
    const part = fs.existsSync(blob) ? blob : `${blob}.part`;
    const there = await this.receive(key, file.size, part, file.digest);
    expect(there, key, "there is no such object", "missing");
    fs.renameSync(part, blob);
    return blob;
  }

  private async document(entry: Json, where: string): Promise<Json> {
    check(entry, { ...SIZED, size: upTo(DOCUMENT_LIMIT) }, where);
    const blob = `${this.folder}/blobs/sha256/${entry.digest.slice(7)}`;
    if (entry.size > LARGE && !fs.existsSync(blob)) {
      try { // a compressed copy: `fetch` checks what it is
        const copy = await this.get(`compressed/sha256/${blob.slice(-64)}.gz`, entry.size);
        fs.writeFileSync(`${blob}.part`, gunzipSync(copy ?? "", { maxOutputLength: entry.size }));
      } catch {} // there is none, or no good one
    }
    return parse(fs.readFileSync(await this.fetch(entry)), where);
  }

  private async get(key: string, limit: number): Promise<Buffer | null> {
    const path = `${this.folder}/pointer.part`;
    return (await this.receive(key, limit, path)) ? fs.readFileSync(path) : null;
  }

  /** Append what a file lacks of an object and check its digest; false if it is missing. */
  private async receive(key: string, limit: number, path: string, digest = ""): Promise<boolean> {
    let [hasher, size, failures] = [createHash("sha256"), 0, 0];
    fs.writeFileSync(path, "", { flag: digest ? "a" : "w" });
    for await (const piece of fs.createReadStream(path)) {
      hasher.update(piece);
      size += piece.length;
    }
    const had = size;
    while (size < limit) {
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(new Error("it stalls")), STALL_MS).unref();
      const headers: { [name: string]: string } = { "accept-encoding": "identity" };
      if (digest === "") headers["cache-control"] = "no-cache";
      if (size > 0) headers["range"] = `bytes=${size}-`;
      try {
        const answer = await fetch(this.url + key, { headers, signal: stop.signal });
        if ([403, 404, 410].includes(answer.status)) return false;
        if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
        if (answer.status !== 206) [hasher, size] = [createHash("sha256"), 0]; // it sends all
        if (size === 0) fs.truncateSync(path);
        const end = size + Number(answer.headers.get("content-length"));
        for await (const piece of answer.body ?? []) {
          fs.appendFileSync(path, piece);
          hasher.update(piece);
          [size, failures] = [size + piece.length, 0];
          timer.refresh();
          if (size > limit) break;
        }
        if (size >= Math.min(end, limit)) break;
        throw new Error(`it ended after ${size} of ${end} bytes`);
      } catch (error) {
        expect(++failures < TRIES, key, `gave up: ${(error as Error).cause ?? error}`, "network");
        await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** failures));
      }
    }
    const sum = `sha256:${hasher.digest("hex")}`;
    const ok = digest === "" ? size <= limit : size === limit && sum === digest;
    if (!ok) fs.truncateSync(path);
    fs.appendFileSync(path, "", { flush: true });
    expect(ok || had > 0, key, `expected at most ${limit} bytes, found ${size}, ${sum}`, "damaged");
    return ok || this.receive(key, limit, path, digest); // what was there was wrong
  }

  /** The adapter's variant for the first backend on which the device can use it. */
  choose(variants: Json[], adapter: string, backends: string[], has: Json): Json {
    let why = `there is no ${adapter} for ${backends.join(" or ")}`;
    const ours = variants.filter((one) => one.adapter === adapter);
    for (const one of backends.flatMap((name) => ours.filter((one) => one.backend === name))) {
      const [mine, low, high] = [has.runtime, ...(one.runtime ?? ",").split(",")].map(order);
      const runs = has.runtime === "any" || (low! <= mine! && mine! < high!);
      if (runs && Number(one.memory) <= has.memory) return one;
      why = `${one.backend} needs ${one.runtime}, ${one.memory} bytes; there is ${show(has)}`;
    }
    throw new ClientError("unsuitable", `${adapter}: ${why}`);
  }

  private variant(source: Json, entry: Json, where: string): Json {
    check(entry, { ...SIZED, ...VARIANT }, where);
    check(source, { annotations: isObject }, where);
    const facts: Json = { manifest: { digest: entry.digest, size: entry.size, ...VARIANT } };
    for (const [key, form] of Object.entries({ ...MUST, ...MAY })) {
      facts[key] = source.annotations[`org.ptefoundry.${key}`] ?? null;
      if (key in MUST || facts[key] !== null) check(facts, { [key]: form }, where);
    }
    return facts;
  }

  private open(envelope: Json, where: string): Buffer {
    const kind = `${OURS}.channel.v1+json`;
    check(envelope, { payloadType: kind, payload: BASE64, signatures: Array.isArray }, where);
    const payload = Buffer.from(envelope.payload, "base64");
    const start = `DSSEv1 ${kind.length} ${kind} ${payload.length} `;
    const signed = Buffer.concat([Buffer.from(start), payload]);
    let [holds, found] = [this.keys.length === 0, "none"];
    for (const item of envelope.signatures.slice(0, 16)) {
      check(item, { sig: BASE64, keyid: WORD }, where);
      const signature = Buffer.from(item.sig, "base64");
      holds ||= this.keys.some((pem) => verify("sha256", signed, pem, signature));
      found = item.keyid.slice(0, 16);
    }
    expect(holds, where, `expected a signature by a given key, found ${found}`, "untrusted");
    return payload;
  }
}

const isObject = (value: unknown) => Object.prototype.toString.call(value) === "[object Object]";

/** A text that sorts as the releases of a runtime do. */
const order = (release: string): string =>
  (release.match(/[0-9]+/g) ?? []).map((number) => number.padStart(6, "0")).join(".");

function upTo(limit: number): (found: any) => boolean {
  return (found) => Number.isSafeInteger(found) && 0 <= found && found <= limit;
}

/** A JSON object, each of its keys once; `JSON.parse` alone would take the last of two. */
function parse(data: Buffer | null, where: string): Json {
  expect(data !== null, where, "there is no such object", "missing");
  let [value, keys, written]: [unknown, number, number] = [null, 0, 0];
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data!);
    value = JSON.parse(text, function (_, item) { keys += +!Array.isArray(this); return item; });
    for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)) written += token[1] ? 1 : 0;
  } catch {} // it stays null
  expect(isObject(value), where, "expected a JSON object");
  expect(keys === written + 1, where, "a key stands twice in one object"); // one more: all of it
  return value as Json;
}

/** Refuse fields that are not of the pattern, the range, the type or the value of `spec`. */
function check(fields: any, spec: Json, where: string, kind = "malformed"): void {
  for (const [key, wanted] of Object.entries(spec)) {
    const found = isObject(fields) && Object.hasOwn(fields, key) ? fields[key] : null;
    let holds = isDeepStrictEqual(found, wanted);
    if (wanted instanceof RegExp) holds = typeof found === "string" && wanted.test(found);
    else if (typeof wanted === "function") holds = wanted(found);
    expect(holds, where, `${key}: expected ${wanted}, found ${show(found)}`, kind);
  }
}

function expect(holds: boolean, where: string, text: string, kind = "malformed"): void {
  if (!holds) throw new ClientError(kind, `${where}: ${text}`);
}

/** A value in ASCII: what a stranger wrote must not move the cursor of who reads it. */
const show = (value: unknown): string => (JSON.stringify(value) ?? "null")
  .replace(/[^ -~]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`).slice(0, 80);

/** Do what the command line says; print JSON. */
async function main([command = "", url = "", asked = "", ...options]: string[]): Promise<void> {
  const counts: Json = { plan: 0, prefetch: 1, pull: Infinity };
  expect(command in counts, "usage", "plan|prefetch|pull REGISTRY NAME:CHANNEL ..", "usage");
  const given: Json = { "--adapter": "base", "--memory": LARGEST };
  for (let at = 0; at < options.length; at += 2) given[options[at]!] = options[at + 1];
  const keys: string[] = given["--keys"]?.split(",") ?? [];
  const client = new Client(url, given["--to"], keys.map((key) => fs.readFileSync(key, "utf8")));
  const [version, variants] = await client.resolve(asked);
  const has = { runtime: given["--runtime"], memory: Number(given["--memory"]) };
  const variant = client.choose(variants, given["--adapter"], given["--backends"].split(","), has);
  check(variant, { foundation: given["--foundation"] ?? variant.foundation }, asked, "unsuitable");
  const files = await client.files(variant);
  const known = fs.readdirSync(`${given["--to"]}/blobs/sha256`);
  const lacking = files.filter((file) => !known.includes(file.digest.slice(7)));
  const download = lacking.reduce((sum, file) => sum + file.size, 0);
  const places: Json = {};
  for (const file of files.slice(0, counts[command])) places[file.path] = await client.fetch(file);
  console.log(JSON.stringify({ ...version, ...variant, download, files: places }));
}

if (import.meta.filename === fs.realpathSync(process.argv[1] ?? ".")) {
  main(process.argv.slice(2)).catch((error) => {
    process.exitCode = 1;
    console.error(`error (${error.kind}): ${error.message}`);
  });
}
