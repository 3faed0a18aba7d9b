//! Times the layer engine by hand: `layer-bench apply LAYER DIR`, `pack DIR gzip|zstd|none [LEVEL]`, `scan LAYER`,
//! `upper DIR BASE-LAYER OUT`, `diff DIR`, `copy FROM TO`.
#![allow(clippy::print_stdout, missing_docs)]

use layer::codec::ReadAhead;
use layer::{ApplyOptions, Compression, LayerWriter, PackOptions, TarWriter};
use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |at: usize| args.get(at).map(String::as_str).unwrap_or_default();
    let start = Instant::now();
    match arg(0) {
        "apply" => {
            std::fs::create_dir_all(arg(2))?;
            let root = File::open(arg(2))?;
            let mut tar = ReadAhead::start(layer::decompress(File::open(arg(1))?)?)?;
            let applied = layer::apply::apply_buffered(&mut tar, root.as_fd(), &mut ApplyOptions::default())?;
            let (diff_id, size) = tar.finish()?;
            println!("{} entries, {size} bytes, {diff_id}, {:?}", applied.toc.items.len(), applied.warnings);
        }
        "scan" => {
            let toc = layer::Toc::scan(layer::decompress(File::open(arg(1))?)?, &layer::apply::Limits::default())?;
            println!("{} entries, {} bytes stored", toc.items.len(), toc.to_bytes().len());
        }
        "pack" => {
            let compression = match arg(2) {
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                _ => Compression::None,
            };
            let sink = File::create("/dev/null")?;
            let writer = LayerWriter::create(sink, compression, arg(3).parse().ok(), 2)?;
            let mut tar = TarWriter::new(writer);
            let toc = layer::pack_tree(File::open(arg(1))?.as_fd(), &mut tar, &PackOptions::default())?;
            let (blob, _) = tar.finish()?.finish()?;
            println!("{} entries, {blob:?}", toc.items.len());
        }
        "upper" => {
            let base = layer::decompress(File::open(arg(2))?)?;
            let base = layer::Toc::scan(base, &layer::apply::Limits::default())?;
            let view = layer::View::of([base.into()]);
            let mut tar = TarWriter::new(File::create(arg(3))?);
            let options = PackOptions { below: Some(&view), ..Default::default() };
            let toc = layer::pack_upper(File::open(arg(1))?.as_fd(), &mut tar, &options)?;
            tar.finish()?;
            println!("{} entries", toc.items.len());
        }
        "diff" => {
            let root = File::open(arg(1))?;
            let table = layer::Table::scan(root.as_fd(), &layer::ScanOptions { threads: 2, ..Default::default() })?;
            println!("scan {:?}, {} bytes stored", start.elapsed(), table.to_bytes().len());
            let changes = table.diff(root.as_fd(), &layer::ScanOptions { threads: 2, ..Default::default() })?;
            println!("{} changes", changes.items.len());
        }
        "copy" => {
            std::fs::create_dir_all(arg(2))?;
            println!("{:?}", layer::copy_tree(File::open(arg(1))?.as_fd(), File::open(arg(2))?.as_fd())?);
        }
        other => return Err(format!("unknown command {other:?}").into()),
    }
    println!("{:?}", start.elapsed());
    Ok(())
}
