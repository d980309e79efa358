#!/usr/bin/env node
/** Reads ptefoundry registries with plain GET: one file for Node 20 or newer, nothing else.
 *
 * plan|prefetch|pull REGISTRY NAME:CHANNEL|NAME@VERSION --to FOLDER --backends xnnpack,.. --runtime
 * 1.5.1|any [--adapter NAME] [--memory BYTES] [--foundation DIGEST] [--keys FILE,..]: docs/clients.md
 */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";

type Json = { [key: string]: any };

const [TRIES, STALL_MS, PIECE] = [4, 30_000, 1 << 18];
const [RECORD_LIMIT, SMALL_LIMIT, DOCUMENT_LIMIT, LARGEST] = [64 << 10, 1 << 20, 8 << 20, 2 ** 50];
const [OCI, MODEL] = ["application/vnd.oci.image", "application/vnd.cncf.model"];
const OURS = "application/vnd.ptefoundry";
const INDEX = { mediaType: `${OCI}.index.v1+json`, artifactType: `${OURS}.bundle.v1+json` };
const VARIANT = { mediaType: `${OCI}.manifest.v1+json`, artifactType: `${MODEL}.manifest.v1+json` };
const TITLE = "org.opencontainers.image.title";
const VERSION = "org.opencontainers.image.version";
const RESERVED = ["manifest.json", "measured.json", "signatures"];
const LAYER_TYPE = /^application\/vnd\.cncf\.model\.weight(\.config)?\.v1\.raw$/;
const NAME = /^(?=.{1,64}$)[a-z0-9]+(?:[._-][a-z0-9]+)*$/;
const SEMVER = /^(?=.{1,64}$)[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?$/;
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/;
const BASE64 = /^(?:[A-Za-z0-9+\/]{4})*(?:[A-Za-z0-9+\/]{3}=|[A-Za-z0-9+\/]{2}==)?$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const COUNT = /^(?:0|[1-9][0-9]{0,15})$/;
const WORD = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
const RUNTIME = /^>=[0-9]{1,6}(?:\.[0-9]{1,6}){2},<[0-9]{1,6}(?:\.[0-9]{1,6}){2}$/;
const PATH = /^(?=.{1,512}$)\w(?:[\w.+-]{0,126}[\w+-])?(?:\/\w(?:[\w.+-]{0,126}[\w+-])?)*$/;
const DEVICE = /(?:^|\/)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:[.\/]|$)/i;
const SIZED = { digest: DIGEST, size: [0, LARGEST] };
const MUST = { backend: WORD, adapter: WORD, method: WORD, program: PATH, size: COUNT, memory: COUNT };
const MAY: Json = { foundation: DIGEST, "foundation.size": COUNT, runtime: RUNTIME };

/** Why something was refused; `kind` is what an app acts upon (docs/clients.md). */
export class ClientError extends Error {
  readonly kind: string;

  constructor(kind: string, text: string) {
    super(text);
    this.kind = kind;
  }
}

/** A registry as a device sees it; `folder` keeps what was fetched and what was seen. */
export class Client {
  private readonly url: string;
  private readonly folder: string;
  private readonly keys: KeyObject[];

  constructor(registry: string, folder: string, keys: string[]) {
    expect(/^https?:\/\//.test(registry), registry, "expected an address https://...");
    [this.url, this.folder] = [registry.replace(/\/+$/, "") + "/", folder];
    this.keys = keys.map(loadKey);
    fs.mkdirSync(join(folder, "blobs"), { recursive: true });
  }

  /** Find what `name:channel` or `name@version` names, and its variants. */
  async resolve(reference: string): Promise<Json> {
    const [, name = "", sign = "", rest = ""] = /^([^:@]*)([:@]?)(.*)$/s.exec(reference) ?? [];
    check({ name, rest }, { name: NAME, rest: sign === ":" ? NAME : SEMVER }, reference);
    const found = sign === ":" ? await this.channel(name, rest) : await this.ref(name, rest);
    const version: string = found.version;
    const where = `${name}@${version}`;
    const note = await this.get(`yanks/${name}/${version}.json`, SMALL_LIMIT);
    const yanked = note === null ? null : String(parse(note, where).reason);
    expect(sign === "@" || yanked === null, where, `it was yanked: ${show(yanked)}`, "yanked");
    const index = await this.document(found, where);
    check(index, { schemaVersion: 2, ...INDEX, manifests: Array }, where);
    check(index.annotations, { [TITLE]: name, [VERSION]: version }, where);
    const variants: Json[] = index.manifests.map((one: Json) => this.variant(one, one, where));
    const pairs = new Set(variants.map((one) => `${one.backend}/${one.adapter}`));
    const each = pairs.size === variants.length && pairs.size > 0;
    expect(each, where, "expected each variant once, at least one");
    return { name, version, yanked, variants };
  }

  private async channel(name: string, channel: string): Promise<Json> {
    const key = `channels/${name}/${channel}.json`;
    const data = await this.get(key, RECORD_LIMIT);
    const record = parse(this.open(parse(data, key), key), key);
    check(record, { format: 1, name, channel, version: SEMVER, ...SIZED, number: [1, 99999999] }, key);
    if (this.keys.length > 0 || (record.expires ?? null) !== null) {
      check(record, { expires: TIME }, key, "untrusted");
      const isCurrent = new Date().toISOString().slice(0, 19) + "Z" < record.expires;
      expect(isCurrent, key, `it expired on ${record.expires}`, "untrusted");
    }
    const seen = join(this.folder, "seen.json");
    const known = fs.existsSync(seen) ? parse(fs.readFileSync(seen), seen) : {};
    const digest = "sha256:" + createHash("sha256").update(data!).digest("hex");
    const [asked, number] = [`${this.url} ${name}:${channel}`, record.number];
    const [last, lastDigest] = known[asked] ?? [0, null];
    expect(number >= last, key, `number ${number} is older than ${last}, seen`, "untrusted");
    const previous = last > 0 ? (record.previous ?? null) : null;
    const follows = number === last ? digest : number === last + 1 ? previous : lastDigest;
    const text = `number ${number} is of another history than ${last}`;
    expect(follows === lastDigest, key, text, "untrusted");
    fs.writeFileSync(`${seen}.new`, JSON.stringify({ ...known, [asked]: [number, digest] }));
    fs.renameSync(`${seen}.new`, seen);
    return record;
  }

  private async ref(name: string, version: string): Promise<Json> {
    const text = "with keys, ask for a channel";
    expect(this.keys.length === 0, `${name}@${version}`, text, "untrusted");
    const key = `refs/${name}/${version}.json`;
    const ref = parse(await this.get(key, SMALL_LIMIT), key);
    check(ref, { format: 1, name, version, ...SIZED }, key);
    check(ref, { removed: null }, key, "missing");
    return ref;
  }

  /** List the files of a variant as they are of use: path, digest, size. */
  async files(variant: Json): Promise<Json[]> {
    const where = `${variant.backend}/${variant.adapter}`;
    const manifest = await this.document(variant.manifest, where);
    check(manifest, { schemaVersion: 2, ...VARIANT, layers: Array }, where);
    const facts = this.variant(manifest, variant.manifest, where);
    expect(isDeepStrictEqual(facts, variant), where, "its facts are not those of the index");
    const files: Json[] = manifest.layers.map((layer: Json) => this.file(layer, where));
    const names: string[] = files.map((file) => file.path.toLowerCase());
    const parents = (name: string): string[] => [...name.matchAll(/\//g)].map((at) => name.slice(0, at.index));
    const clash = names.flatMap(parents).some((folder) => names.includes(folder));
    const isApart = new Set(names).size === names.length && !clash;
    expect(isApart, where, "two paths mean one file, or one is a folder of another");
    const isOurs = names.slice(0, -1).every((name) => !RESERVED.includes(name.split("/")[0]!));
    expect(isOurs, where, `${RESERVED.join(", ")} are not for files of a bundle`);
    expect(names.at(-1) === "manifest.json", where, "expected manifest.json last");
    check(variant, { size: String(files.reduce((sum, file) => sum + file.size, 0)) }, where);
    const first = { foundation: files[0]!.digest, "foundation.size": String(files[0]!.size) };
    check(variant, variant.foundation === null ? {} : first, where);
    return files;
  }

  private file(layer: Json, where: string): Json {
    check(layer, { ...SIZED, mediaType: LAYER_TYPE, annotations: Object }, where);
    const path = layer.annotations[TITLE];
    check(layer.annotations, { [TITLE]: PATH, "org.cncf.model.filepath": path }, where);
    expect(!DEVICE.test(path), where, `${path} is a device on some systems`);
    return { path, digest: layer.digest, size: layer.size };
  }

  /** Get a file: what is there of it is verified, what lacks is fetched; returns its place. */
  async fetch(file: Json): Promise<string> {
    const blob = join(this.folder, "blobs", file.digest.slice(7));
    const part = fs.existsSync(blob) ? blob : `${blob}.part`;
    const key = `blobs/sha256/${file.digest.slice(7)}`;
    const there = await this.receive(key, file.size, part, file.digest);
    expect(there, key, "there is no such object", "missing");
    fs.renameSync(part, blob);
    return blob;
  }

  private async document(descriptor: Json, where: string): Promise<Json> {
    check(descriptor, { digest: DIGEST, size: [0, DOCUMENT_LIMIT] }, where);
    return parse(fs.readFileSync(await this.fetch(descriptor)), where);
  }

  private async get(key: string, limit: number): Promise<Buffer | null> {
    const path = join(this.folder, "pointer.part");
    fs.rmSync(path, { force: true });
    return (await this.receive(key, limit, path)) ? fs.readFileSync(path) : null;
  }

  /** Append what a file lacks of an object and check its digest; false if it is missing. */
  private async receive(key: string, limit: number, path: string, digest = ""): Promise<boolean> {
    const [fd, buffer] = [fs.openSync(path, "a+"), Buffer.alloc(PIECE)];
    let [hasher, size, failures] = [createHash("sha256"), 0, 0];
    try {
      for (let read = 0; (read = fs.readSync(fd, buffer, 0, PIECE, size)) > 0; size += read) {
        hasher.update(buffer.subarray(0, read));
      }
      const had = size;
      while (size < limit) {
        const stop = new AbortController();
        const timer = setTimeout(() => stop.abort(new Error("it stalls")), STALL_MS);
        const headers: { [name: string]: string } = { "accept-encoding": "identity" };
        if (digest === "") headers["cache-control"] = "no-cache";
        if (size > 0) headers["range"] = `bytes=${size}-`;
        try {
          const answer = await fetch(this.url + key, { headers, signal: stop.signal });
          if (answer.status === 403 || answer.status === 404) return false;
          if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
          if (answer.status !== 206) { // all of it, whatever was asked for
            [hasher, size] = [createHash("sha256"), 0];
            fs.ftruncateSync(fd);
          }
          const end = size + Number(answer.headers.get("content-length") ?? 0);
          for await (const piece of answer.body ?? []) {
            fs.appendFileSync(fd, piece);
            hasher.update(piece);
            [size, failures] = [size + piece.length, 0];
            if (size > limit) break;
            timer.refresh();
          }
          if (size >= end || size > limit) break;
          throw new Error(`it ended after ${size} of ${end} bytes`);
        } catch (error) {
          failures += 1;
          expect(failures < TRIES, key, `gave up after ${TRIES} tries: ${error}`, "network");
          await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** failures));
        } finally {
          clearTimeout(timer);
        }
      }
      const found = `sha256:${hasher.digest("hex")}`;
      const isRight = digest === "" ? size <= limit : size === limit && found === digest;
      if (!isRight) fs.ftruncateSync(fd);
      fs.fsyncSync(fd);
      const text = `expected at most ${limit} bytes, found ${size} with ${found}`;
      expect(isRight || had > 0, key, text, "damaged");
      if (isRight) return true;
    } finally {
      fs.closeSync(fd);
    }
    return this.receive(key, limit, path, digest); // what was there was wrong
  }

  /** The adapter's variant for the first backend on which the device can use it. */
  choose(version: Json, adapter: string, backends: string[], runtime: string, memory: number): Json {
    let why = `${adapter} on ${backends.join(" or ")}: there is no such variant`;
    const found = backends.flatMap((backend) => version.variants.filter((one: Json) => one.backend === backend));
    for (const one of found.filter((one) => one.adapter === adapter)) {
      const [low = "", high = ""] = (one.runtime ?? "").split(",").map(order);
      const fits = runtime === "any" || (low <= order(runtime) && order(runtime) < high);
      if (fits && Number(one.memory) <= memory) return one;
      const has = `there is runtime ${runtime}, ${memory} bytes`;
      why = `${one.backend} needs ${one.runtime}, ${one.memory} bytes; ${has}`;
    }
    throw new ClientError("unsuitable", `${version.name}@${version.version}: ${why}`);
  }

  private variant(source: Json, descriptor: Json, where: string): Json {
    check(descriptor, { ...SIZED, ...VARIANT }, where);
    check(source, { annotations: Object }, where);
    const { digest, size } = descriptor;
    const facts: Json = { manifest: { digest, size, ...VARIANT } };
    for (const key of Object.keys({ ...MUST, ...MAY })) facts[key] = source.annotations[`org.ptefoundry.${key}`] ?? null;
    const given = Object.entries(MAY).filter(([key]) => facts[key] !== null);
    check(facts, { ...MUST, ...Object.fromEntries(given) }, where);
    return facts;
  }

  private open(envelope: Json, where: string): Buffer {
    const kind = `${OURS}.channel.v1+json`;
    check(envelope, { payloadType: kind, payload: BASE64, signatures: Array }, where);
    const payload = Buffer.from(envelope.payload, "base64");
    const signed = Buffer.concat([Buffer.from(`DSSEv1 ${kind.length} ${kind} ${payload.length} `), payload]);
    let [holds, found] = [this.keys.length === 0, "none"];
    for (const item of envelope.signatures.slice(0, 16)) {
      check(item, { sig: BASE64, keyid: WORD }, where);
      holds ||= this.keys.some((key) => verify("sha256", signed, key, Buffer.from(item.sig, "base64")));
      found = item.keyid.slice(0, 16);
    }
    expect(holds, where, `expected a signature by a given key, found ${found}`, "untrusted");
    return payload;
  }
}

/** A text that sorts as the releases of a runtime do. */
function order(release: string): string {
  return (release.match(/[0-9]+/g) ?? []).map((number) => number.padStart(6, "0")).join(".");
}

function loadKey(pem: string): KeyObject {
  const key = createPublicKey(pem);
  const curve = key.asymmetricKeyDetails?.namedCurve;
  expect(curve === "prime256v1", "key", "expected one on P-256 in PEM");
  return key;
}

/** A JSON object, each of its keys once; `JSON.parse` alone would take the last of two. */
function parse(data: Buffer | null, where: string): Json {
  expect(data !== null, where, "there is no such object", "missing");
  let [value, keys, written]: [unknown, number, number] = [null, 0, 0];
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data!);
    value = JSON.parse(text, function (_key, item) {
      keys += Array.isArray(this) ? 0 : 1;
      return item;
    });
    for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)) written += token[1] ? 1 : 0;
  } catch {
    value = null;
  }
  expect(isObject(value), where, "expected a JSON object");
  expect(keys === written + 1, where, "a key stands twice in one object"); // one more: all of it
  return value as Json;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Refuse fields that are not of the pattern, the range, the type or the value of `spec`. */
function check(fields: any, spec: Json, where: string, kind = "malformed"): void {
  for (const [key, wanted] of Object.entries(spec)) {
    const found = isObject(fields) && Object.hasOwn(fields, key) ? fields[key] : null;
    let holds = found === wanted;
    if (wanted instanceof RegExp) holds = typeof found === "string" && wanted.test(found);
    else if (wanted === Array) holds = Array.isArray(found);
    else if (wanted === Object) holds = isObject(found);
    else if (Array.isArray(wanted)) holds = Number.isSafeInteger(found) && wanted[0] <= found && found <= wanted[1];
    expect(holds, where, `${key}: expected ${wanted}, found ${show(found)}`, kind);
  }
}

function expect(holds: boolean, where: string, text: string, kind = "malformed"): void {
  if (!holds) throw new ClientError(kind, `${where}: ${text}`);
}

/** A value in ASCII: what a stranger wrote must not move the cursor of who reads it. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "null";
  return text.replace(/[^ -~]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`).slice(0, 80);
}

/** Do what the command line says; print JSON. */
async function main([command = "", registry = "", reference = "", ...options]: string[]): Promise<void> {
  const given: { [name: string]: string } = { "--adapter": "base", "--memory": `${LARGEST}` };
  for (let at = 0; at < options.length; at += 2) given[options[at]!] = options[at + 1]!;
  const keys = given["--keys"]?.split(",").map((path) => fs.readFileSync(path, "utf8")) ?? [];
  const client = new Client(registry, given["--to"]!, keys);
  const { variants, ...version } = await client.resolve(reference);
  const [runtime, memory, backends] = [given["--runtime"]!, Number(given["--memory"]), given["--backends"]!.split(",")];
  const variant = client.choose({ ...version, variants }, given["--adapter"]!, backends, runtime, memory);
  const only = given["--foundation"];
  check(variant, only === undefined ? {} : { foundation: only }, reference, "unsuitable");
  const files = await client.files(variant);
  const known = fs.readdirSync(join(given["--to"]!, "blobs"));
  const lacking = files.filter((file) => !known.includes(file.digest.slice(7)));
  const download = lacking.reduce((sum, file) => sum + file.size, 0);
  const places: Json = {};
  const count = { plan: 0, prefetch: 1 }[command] ?? files.length;
  for (const file of files.slice(0, count)) places[file.path] = await client.fetch(file);
  console.log(JSON.stringify({ ...version, ...variant, download, files: places }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  main(process.argv.slice(2)).catch((error) => {
    process.exitCode = 1;
    console.error(`error (${error.kind}): ${error.message}`);
  });
}
