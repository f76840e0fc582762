"""The data set as Croissant 1.1 describes it: files, fields, licences, consent, where the rows came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.train.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

CROISSANT_FILE: Final = "croissant.json"
CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.1"
_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant_bytes(manifest: Manifest, splits: dict[str, pa.Table]) -> bytes:
    """The JSON-LD document. It holds no value of a row."""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{manifest.deployment}-{manifest.name[:12]}",
        "description": f"Training data of {manifest.deployment}, built by {manifest.made_by}.",
        "version": "1.0.0",
        "citeAs": f"{manifest.deployment}, data set {manifest.sha256}",
        "url": f"urn:sha256:{manifest.sha256}",
        "license": "; ".join(sorted({source.licence for source in manifest.sources})),
        "creator": {"@type": "Organization", "name": manifest.deployment},
        "datePublished": manifest.created_at[:10],
        "isLiveDataset": False,
        "prov:wasDerivedFrom": [
            {
                "@type": "prov:Entity",
                "@id": f"source/{source.name}",
                "prov:label": f"{source.kind}: {source.name}",
                "prov:value": source.sha256 or f"{source.rows} rows of the prediction log",
            }
            for source in manifest.sources
        ],
        "odrl:hasPolicy": {
            "@type": "odrl:Set",
            "odrl:permission": [
                {
                    "@type": "odrl:Permission",
                    "odrl:action": {"@id": "odrl:use"},
                    "odrl:target": f"source/{source.name}",
                    "odrl:duty": f"legal basis: {source.basis}; {manifest.consent.rule}, "
                    f"as of {manifest.consent.as_of}",
                }
                for source in manifest.sources
            ],
        },
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": f"{name}.parquet",
                "name": f"{name}.parquet",
                "contentUrl": f"{name}.parquet",
                "encodingFormat": "application/x-parquet",
                "sha256": split.sha256,
            }
            for name, split in manifest.splits.items()
        ],
        "recordSet": [_record_set(name, table) for name, table in splits.items()],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _record_set(name: str, table: pa.Table) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": field.name,
                "dataType": _data_type(field.type),
                "source": {
                    "fileObject": {"@id": f"{name}.parquet"},
                    "extract": {"column": field.name},
                },
            }
            for field in table.schema
        ],
    }


def _data_type(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return "sc:Text"
