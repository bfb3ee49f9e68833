// What a program does with @alicloud/imagesearch20201214, step by step; the steps are those of sdk_checks.py.
// `node sdk_checks.cjs '{"address": …}'` prints what came back as JSON; NODE_PATH names the folder of packages.
"use strict";

const fs = require("node:fs");
const { Readable } = require("node:stream");
const sdk = require("@alicloud/imagesearch20201214");
const { $OpenApiUtil } = require("@alicloud/openapi-core");
const $dara = require("@darabonba/typescript");

const PRODUCT = "p 1/ü&=+~*";
const NAME = "a ü.jpg";
const SECOND = "other & 2";
const PATIENCE_MS = 120_000;

async function main() {
  const place = JSON.parse(process.argv[2]);
  const ca = fs.readFileSync(place.ca, "utf8");
  const client = new sdk.default(new $OpenApiUtil.Config({
    accessKeyId: place.key_id,
    accessKeySecret: place.secret,
    endpoint: place.address,
    protocol: "https",
    regionId: "cn-shanghai",
    ca,
  }));
  client._openPlatformEndpoint = place.address;
  const runtime = new $dara.RuntimeOptions({ readTimeout: PATIENCE_MS, connectTimeout: PATIENCE_MS, ca });
  const stream = (path) => Readable.from([fs.readFileSync(path)]);

  async function call(operation, values) {
    const isAdvance = operation.endsWith("Advance");
    const Request = sdk[`${operation[0].toUpperCase()}${operation.slice(1)}Request`];
    const method = isAdvance ? operation : `${operation}WithOptions`;
    return (await client[method](new Request({ instanceName: "shop", ...values }), runtime)).body.toMap();
  }

  async function failure(operation, values) {
    try {
      await call(operation, values);
    } catch (error) {
      return [error.code, error.statusCode, error.name];
    }
    return [];
  }

  const found = {};
  const key = { productId: PRODUCT, picName: NAME };
  const attributes = {
    customContent: '{"a": "ü"}', intAttr: 5, intAttr2: 2, intAttr3: -3, intAttr4: 4,
    strAttr: "rot & grün", strAttr2: "2", strAttr3: "3", strAttr4: "=+~*",
  };
  const byPicture = (values) =>
    call("searchImageByPicAdvance", { picContentObject: stream(place.picture), ...values });

  for (const step of ["added", "again"]) {
    const picContentObject = stream(place.picture);
    found[step] = await call("addImageAdvance", { ...key, picContentObject, crop: true, ...attributes });
  }
  found.found = await byPicture({ num: 3 });
  found.above = await byPicture({ num: 9, scoreThreshold: "0.900000", crop: false });
  const filter = 'int_attr>=3 AND str_attr="rot & grün"';
  found.filtered = await byPicture({ num: 9, filter, distinctProductId: true });
  found.by_name = await call("searchImageByName", { ...key, num: 2, start: 1 });
  found.by_filter = await call("searchImageByFilter", { filter: "int_attr=5" });
  found.exists = await call("checkImageExists", key);
  found.compared = await call("compareSimilarByImageAdvance", {
    primaryPicContentObject: stream(place.picture),
    secondaryPicContentObject: stream(place.other),
  });

  const second = { productId: SECOND, picName: NAME };
  const picContent = fs.readFileSync(place.other).toString("base64");
  found.base64 = await call("addImage", { ...second, picContent, intAttr: 1, categoryId: 3 });
  found.updated = await call("updateImage", {
    ...second, customContent: "c", intAttr: 10, intAttr2: 20, intAttr3: 30, intAttr4: 40,
    strAttr: "t", strAttr2: "t2", strAttr3: "t3", strAttr4: "t4",
  });
  found["after update"] = await call("checkImageExists", second);
  found.deleted = await call("deleteImage", second);
  found["after deletion"] = await call("checkImageExists", second);
  found["deleted again"] = await call("deleteImage", { productId: SECOND });
  found.absent = await failure("searchImageByName", second);

  found.detail = await call("detail", {});
  found.dump = await call("dumpMeta", {});
  do {
    found.dumps = await call("dumpMetaList", { id: Number(found.dump.Data.Id), pageNumber: 1, pageSize: 5 });
  } while (found.dumps.Data.DumpMetaList[0].Status === "PROCESSING");
  found.imports = await call("increaseList", { pageNumber: 1, pageSize: 5 });
  found.text = await failure("searchImageByText", { text: "a red mug" });
  process.stdout.write(JSON.stringify(found));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
