//! Encodes the tables of a checkpoint: prepares a plan, then runs it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::assembly::{self, Content, OutputShard};
use super::{Finished, auto, config, refuse_overlap, source, words};
use crate::checkpoint::{Checkpoint, Selected, TensorId, is_weights};
use crate::codec::{Analysis, Codec, Demand, DirectTarget, Measured, Options, PartSink, Point, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::locate::Selection;
use crate::manifest::{
    Errors, FileRecord, Manifest, Operation, RunnerUp, SCHEMA_VERSION, TableRecord, WeightsBytes, weights_of,
};
use crate::observe::Observer;
use crate::output::{Replace, StagedDirectory};
use crate::plan::{Ladder, Override, Overrides, Plan, Size, Step, TablePlan, Target, fit_size};
use crate::stub;
use crate::tensor::{Rows, TensorMeta};

/// What the user asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to reach.
    pub target: Target,
    /// Name of the codec, or [`AUTO`](super::AUTO).
    pub method: String,
    /// The codec's options.
    pub options: Options,
    /// Globs of the tables to take; token tables where there is none.
    pub include: Vec<String>,
    /// Globs of tables to leave alone.
    pub exclude: Vec<String>,
    /// Other targets for some tables; of several that match the last counts.
    pub overrides: Vec<Override>,
    /// The most that all weight files may take.
    pub max_size: Option<Size>,
    /// Whether the output gets the loader and the fine-tuning program, where the loader reads its methods.
    pub stub: bool,
}

/// A checkpoint with a plan for it.
pub struct Prepared<'c> {
    pub(super) checkpoint: &'c Checkpoint,
    pub(super) request: &'c Request,
    pub(super) tables: Vec<Chosen<'c>>,
    pub(super) plan: Plan,
}

/// A table on its way to an operating point.
pub(super) struct Chosen<'c> {
    pub(super) id: TensorId,
    tied: Vec<TensorId>,
    pub(super) target: Target,
    pub(super) rows: Box<dyn Rows + 'c>,
    /// What was learned of the numbers. Where several tables share a budget or several codecs compete only the ladders
    /// are kept, so that memory does not grow with their number, and each is looked at again when it is encoded.
    analysis: Option<Box<dyn Analysis>>,
    squared_norm: f64,
    /// The points of every codec, by increasing bytes.
    pub(super) points: Vec<Point>,
    /// The codec of each point.
    pub(super) codecs: Vec<&'static dyn Codec>,
    pub(super) point: usize,
    /// What lost against it, where several codecs competed.
    pub(super) runners_up: Vec<RunnerUp>,
}

impl Chosen<'_> {
    fn point(&self) -> &Point {
        &self.points[self.point]
    }

    fn codec(&self) -> &'static dyn Codec {
        self.codecs[self.point]
    }
}

impl<'c> Prepared<'c> {
    /// Finds the tables of `checkpoint`, looks at their numbers, and plans.
    ///
    /// # Errors
    /// [`ErrorKind::Selection`] where no table fits; [`ErrorKind::Request`] where the target cannot be met;
    /// [`ErrorKind::NonFinite`] where a table has a NaN or an infinity; [`ErrorKind::Gate`] where the result would
    /// be larger than `max_size`.
    pub fn new(checkpoint: &'c Checkpoint, request: &'c Request, observer: &dyn Observer) -> Result<Self> {
        request.target.check()?;
        super::refuse_encoded(checkpoint)?;
        for shard in checkpoint.shards() {
            shard.reader().replaceable().map_err(|error| error.at(checkpoint.root().join(shard.path())))?;
        }
        for path in assembly::companions(checkpoint).filter(|path| is_weights(path)) {
            let name = path.display().to_string();
            observer.warn(&format!("`{}` holds weights too and is copied as it is", name.escape_debug()));
        }
        let codecs = auto::codecs(&request.method)?;
        let selected = checkpoint.select(&Selection::new(&request.include, &request.exclude)?)?;
        let overrides = Overrides::new(request.overrides.clone());
        let names: Vec<_> = selected.iter().map(|one| checkpoint.meta(one.table).name.as_str()).collect();
        overrides.check(&names)?;
        let shared = selected.len() > 1 && matches!(request.target, Target::Size(_));
        let mut tables = Vec::with_capacity(selected.len());
        for Selected { table: id, tied, .. } in selected {
            let meta = checkpoint.meta(id);
            let target = overrides.target_for(&meta.name).unwrap_or(request.target);
            let table = analyze(checkpoint, &codecs, request, id, tied, target, observer)
                .map_err(|error| error.at(checkpoint.shard_path(id)).tensor(&meta.name))?;
            tables.push(if shared { Chosen { analysis: None, ..table } } else { table });
        }
        let mut prepared = Prepared {
            checkpoint,
            request,
            tables,
            plan: Plan { target: request.target.to_string(), tables: vec![], weights_before: 0, weights_after: 0 },
        };
        prepared.plan.weights_before = super::weights_before(checkpoint)?;
        prepared.choose()?;
        if codecs.len() > 1 {
            auto::contest(&mut prepared, observer)?;
        }
        prepared.plan.weights_after = prepared.weights_after(&prepared.points())?;
        prepared.plan.tables = prepared.tables.iter().map(|table| prepared.table_plan(table)).collect();
        prepared.gate()?;
        prepared.check_stub()?;
        Ok(prepared)
    }

    /// What will be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Does it: writes the output to the new directory `destination`.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where `destination` cannot be made; [`ErrorKind::Gate`] where a measured error is above
    /// the `max-error` that was asked for. Nothing is left behind then.
    pub fn run(&self, destination: &Path, replace: Replace, observer: &dyn Observer) -> Result<Finished> {
        refuse_overlap(self.checkpoint, destination)?;
        let staged = StagedDirectory::create(destination, replace)?;
        let manifest = self.write(staged.path(), observer)?;
        let manifest_sha256 = assembly::write_manifest(&manifest, staged.path())?;
        observer.check()?;
        staged.publish()?;
        Ok(Finished { manifest, manifest_sha256 })
    }

    fn write(&self, directory: &Path, observer: &dyn Observer) -> Result<Manifest> {
        let write = || self.write_files(directory, observer);
        let (source, files, tables) = source::recorded(self.checkpoint, observer, write)?;
        Ok(Manifest {
            schema_version: SCHEMA_VERSION,
            generator: super::generator(),
            operation: Operation::Compress,
            source,
            request: self.request_record(),
            tables,
            conversions: Vec::new(),
            left_out: Vec::new(),
            stored_once: self.stored_once(),
            weights_bytes: WeightsBytes { before: self.plan.weights_before, after: weights_of(&files) },
            files,
        })
    }

    /// Writes everything but the records of the output; gives the records of the files and of the tables.
    fn write_files(&self, directory: &Path, observer: &dyn Observer) -> Result<(Vec<FileRecord>, Vec<TableRecord>)> {
        let shards = self.shards(&self.points())?;
        let mut errors = vec![None; self.tables.len()];
        let mut files = Vec::new();
        for shard in &shards {
            let total = shard.tensors.iter().filter_map(|(meta, _)| meta.bytes()).sum();
            observer.stage("write", &shard.path.to_string_lossy(), total);
            let mut produce = |table: usize, sink: &mut dyn PartSink| {
                errors[table] = Some(self.encode(&self.tables[table], sink, observer)?);
                Ok(())
            };
            files.push(shard.write(directory, &mut produce, observer)?);
        }
        files.extend(assembly::copy_companions(self.checkpoint, directory, &|_| true, observer)?);
        files.extend(assembly::write_index(self.checkpoint, &shards, directory)?);
        files.extend(words::write(self.checkpoint, directory)?);
        let tables = self.tables.iter().zip(errors);
        let tables: Vec<_> = tables.filter_map(|(table, errors)| Some(self.table_record(table, errors?))).collect();
        files.extend(self.write_config(directory, &tables)?);
        files.extend(self.write_stub(directory)?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((files, tables))
    }

    fn encode(&self, table: &Chosen<'_>, sink: &mut dyn PartSink, observer: &dyn Observer) -> Result<Measured> {
        let meta = self.checkpoint.meta(table.id);
        let rows = table.rows.as_ref();
        let mut encode = || match &table.analysis {
            Some(analysis) => analysis.encode(rows, table.point, sink, observer),
            None => {
                let view = Table { name: &meta.name, dtype: meta.dtype, rows };
                let demand = Demand::Only(&table.point().setting);
                let analysis = table.codec().analyze(&view, &self.request.options, demand, observer)?;
                analysis.encode(rows, 0, sink, observer)
            }
        };
        let measured = encode().map_err(|error| error.at(self.checkpoint.shard_path(table.id)).tensor(&meta.name))?;
        // What was minimized, and predicted.
        let found =
            measured.weighted.map_or(measured.relative_frobenius_error(), |sums| sums.relative_frobenius_error());
        match table.target {
            Target::MaxError(bound) if found > bound => {
                Err(Error::new(ErrorKind::Gate, "the measured error is above the bound")
                    .tensor(&meta.name)
                    .expected(format!("a relative Frobenius error of at most {bound}"))
                    .found(format!("{found}"))
                    .hint("store the factors in a wider dtype with `--dtype`, or allow a larger error"))
            }
            _ => Ok(measured),
        }
    }

    /// Sets the point of every table.
    fn choose(&mut self) -> Result<()> {
        let mut ladders = Vec::with_capacity(self.tables.len());
        let mut fixed = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let meta = self.checkpoint.meta(table.id);
            let place = |error: Error| error.at(self.checkpoint.shard_path(table.id)).tensor(&meta.name);
            let dropped = |point: &Point| match point.retained_energy {
                Some(energy) => (1.0 - energy) * table.squared_norm,
                None => point.squared_error,
            };
            let ladder = |squared_error: &dyn Fn(&Point) -> f64| {
                let steps = table.points.iter();
                let steps = steps.map(|point| Step { bytes: point.bytes(), squared_error: squared_error(point) });
                Ladder::new(table.squared_norm, self.bytes_before(table), steps.collect()).map_err(place)
            };
            let errors = ladder(&|point| point.squared_error)?;
            fixed.push(match table.target {
                Target::Reduction(_) | Target::Rank(_) | Target::Bits(_) => Some(0),
                // What is kept of the singular values, whatever rounding the factors costs.
                Target::Energy(energy) => Some(ladder(&dropped)?.at_energy(energy).map_err(place)?),
                Target::MaxError(error) => Some(errors.at_max_error(error).map_err(place)?),
                Target::Size(_) => None,
            });
            ladders.push(errors);
        }
        let steps = match self.request.target {
            Target::Size(size) if fixed.contains(&None) => {
                let limit = size.bytes(self.plan.weights_before);
                // What cannot be laid out cannot fit; the error comes when the chosen one is laid out.
                let total = |steps: &[usize]| self.weights_after(&self.points_at(steps)).unwrap_or(u64::MAX);
                fit_size(&ladders, &fixed, limit, &total)?.steps
            }
            _ => fixed.into_iter().flatten().collect(),
        };
        for (table, step) in self.tables.iter_mut().zip(steps) {
            table.point = step;
        }
        Ok(())
    }

    fn gate(&self) -> Result<()> {
        let Some(size) = self.request.max_size else { return Ok(()) };
        let limit = size.bytes(self.plan.weights_before);
        if self.plan.weights_after <= limit {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Gate, "the output would be too large")
            .at(self.checkpoint.root())
            .expected(format!("weights of at most {limit} bytes"))
            .found(format!("{} bytes", self.plan.weights_after)))
    }

    pub(super) fn points(&self) -> Vec<&Point> {
        self.tables.iter().map(Chosen::point).collect()
    }

    fn points_at(&self, steps: &[usize]) -> Vec<&Point> {
        self.tables.iter().zip(steps).map(|(table, &step)| &table.points[step]).collect()
    }

    /// The weight files of the output with the tables at `points`. A shard that would hold nothing is left out.
    fn shards(&self, points: &[&Point]) -> Result<Vec<OutputShard<'c>>> {
        let mut shards: Vec<OutputShard<'c>> = Vec::new();
        let sources = self.checkpoint.shards();
        for (number, shard) in sources.iter().enumerate() {
            let mut tensors = Vec::new();
            for (index, meta) in shard.reader().tensors().iter().enumerate() {
                let id = TensorId { shard: number, index };
                if let Some(table) = self.tables.iter().position(|table| table.id == id) {
                    let parts = points[table].parts.iter().cloned().enumerate();
                    tensors.extend(parts.map(|(part, meta)| (meta, Content::Produced { table, part })));
                } else if !self.is_tied(id) && self.stored_as(id).is_none() {
                    tensors.push((meta.clone(), Content::Copied { reader: shard.reader(), index }));
                }
            }
            if !tensors.is_empty() || shard.reader().tensors().is_empty() {
                let mut metadata = shard.reader().metadata().clone();
                let tied = (0..shard.reader().tensors().len()).filter_map(|index| {
                    let id = TensorId { shard: number, index };
                    Some((
                        self.checkpoint.meta(id).name.clone(),
                        self.checkpoint.meta(self.stored_as(id)?).name.clone(),
                    ))
                });
                // As safetensors' `save_model` records tensors that share their storage.
                metadata.extend(tied);
                let path = super::output_path(self.checkpoint, shard);
                match shards.iter_mut().find(|earlier| earlier.path == path) {
                    Some(earlier) => earlier.tensors.extend(tensors),
                    None => shards.push(OutputShard { path, metadata, tensors }),
                }
            }
        }
        Ok(shards)
    }

    fn is_tied(&self, id: TensorId) -> bool {
        self.tables.iter().any(|table| table.tied.contains(&id))
    }

    /// The tensor that is stored for `id` too, because they share their storage. One that became a factor pair stands
    /// for no other but those that were found to be tied to it.
    fn stored_as(&self, id: TensorId) -> Option<TensorId> {
        let is_table = |id: TensorId| self.is_tied(id) || self.tables.iter().any(|table| table.id == id);
        let index = self.checkpoint.shards()[id.shard].reader().stored_as(id.index)?;
        let first = TensorId { index, ..id };
        (!is_table(id) && !is_table(first)).then_some(first)
    }

    fn stored_once(&self) -> BTreeMap<String, String> {
        let name = |id: TensorId| self.checkpoint.meta(id).name.clone();
        self.checkpoint.tensors().filter_map(|(id, _)| Some((name(id), name(self.stored_as(id)?)))).collect()
    }

    pub(super) fn weights_after(&self, points: &[&Point]) -> Result<u64> {
        let shards = self.shards(points)?.iter().map(OutputShard::file_bytes).sum::<Result<u64>>()?;
        Ok(shards + assembly::companion_weights(self.checkpoint)?)
    }

    fn bytes_before(&self, table: &Chosen<'_>) -> u64 {
        let ids = table.tied.iter().chain([&table.id]);
        ids.filter_map(|&id| self.checkpoint.meta(id).bytes()).sum()
    }

    fn tied_names(&self, table: &Chosen<'_>) -> Vec<String> {
        table.tied.iter().map(|&id| self.checkpoint.meta(id).name.clone()).collect()
    }

    fn table_plan(&self, table: &Chosen<'_>) -> TablePlan {
        let (meta, point) = (self.checkpoint.meta(table.id), table.point());
        let relative = if table.squared_norm == 0.0 { 0.0 } else { (point.squared_error / table.squared_norm).sqrt() };
        TablePlan {
            name: meta.name.clone(),
            shape: shape_of(meta),
            dtype: meta.dtype,
            stored_dtype: point.parts.first().map_or(meta.dtype, |part| part.dtype),
            method: table.codec().name().into(),
            setting: point.setting.clone(),
            bytes_before: self.bytes_before(table),
            bytes_after: point.bytes(),
            parameters_before: meta.elements().unwrap_or_default(),
            parameters_after: point.parameters,
            flops_per_token_before: 0,
            flops_per_token_after: point.flops_per_token,
            relative_frobenius_error: relative,
            weighted: self.request.options.row_weights.is_some(),
            retained_energy: point.retained_energy,
            tied: self.tied_names(table),
        }
    }

    fn table_record(&self, table: &Chosen<'_>, measured: Measured) -> TableRecord {
        let (meta, point) = (self.checkpoint.meta(table.id), table.point());
        TableRecord {
            name: meta.name.clone(),
            shape: shape_of(meta),
            dtype: meta.dtype,
            method: table.codec().name().into(),
            reference: table.codec().reference().into(),
            setting: point.setting.clone(),
            parts: point.parts.iter().map(|part| part.name.clone()).collect(),
            tied: self.tied_names(table),
            bytes_before: self.bytes_before(table),
            bytes_after: point.bytes(),
            parameters_before: meta.elements().unwrap_or_default(),
            parameters_after: point.parameters,
            flops_per_token: point.flops_per_token,
            errors: Errors {
                relative_frobenius: measured.relative_frobenius_error(),
                weighted_relative_frobenius: measured.weighted.map(|sums| sums.relative_frobenius_error()),
                max_absolute: measured.max_absolute_error,
            },
            runners_up: table.runners_up.clone(),
        }
    }

    /// Whether the output gets the stub: it was asked for, its loader reads every table, and the checkpoint is one of a
    /// module, not word vectors, which get a class of their own.
    fn has_stub(&self) -> bool {
        self.request.stub
            && self.tables.iter().all(|table| stub::reads(table.codec().name()))
            && !self.checkpoint.shards().iter().any(|shard| shard.reader().vocabulary().is_some())
    }

    fn write_stub(&self, directory: &Path) -> Result<Vec<FileRecord>> {
        if !self.has_stub() {
            return Ok(Vec::new());
        }
        let programs = stub::paths(self.checkpoint.config().map(|file| file.path()));
        programs.map(|(path, program)| assembly::write_small(directory, &path, program.text.as_bytes())).collect()
    }

    /// The source may have a file where one of the stub would go; which of the two is wanted cannot be guessed.
    fn check_stub(&self) -> Result<()> {
        if !self.has_stub() {
            return Ok(());
        }
        for (path, _) in stub::paths(self.checkpoint.config().map(|file| file.path())) {
            if self.checkpoint.files().any(|file| file == path) {
                return Err(Error::new(ErrorKind::Request, "the checkpoint has a file where the loader's would go")
                    .at(self.checkpoint.root().join(path))
                    .hint("pass `--no-stub`, or rename the file"));
            }
        }
        Ok(())
    }

    fn write_config(&self, directory: &Path, tables: &[TableRecord]) -> Result<Option<FileRecord>> {
        let Some(configuration) = self.checkpoint.config() else { return Ok(None) };
        let text = configuration.text();
        let named = if self.has_stub() && config::takes_loader(text) { &config::name_loader(text) } else { text };
        let text = config::insert(named, &config::Additions::new(tables)?)
            .map_err(|error| error.at(self.checkpoint.root().join(configuration.path())))?;
        assembly::write_small(directory, configuration.path(), text.as_bytes()).map(Some)
    }

    fn request_record(&self) -> Map<String, Value> {
        let request = self.request;
        let overrides: Map<String, Value> =
            request.overrides.iter().map(|one| (one.glob().to_owned(), one.target().to_string().into())).collect();
        let record = json!({
            "target": request.target.to_string(),
            "method": request.method,
            "dtype": request.options.dtype,
            "split": request.options.split.name(),
            "variant": request.options.variant.name(),
            "left_bits": request.options.left_bits,
            "right_bits": request.options.right_bits,
            "subquantizers": request.options.subquantizers,
            "code_bits": request.options.code_bits,
            "rotation": request.options.rotation,
            "norms": request.options.norms,
            "row_weights": request.options.row_weights.as_ref().map(|weights| weights.to_string()),
            "seed": request.options.seed,
            "granularity": request.options.granularity.to_string(),
            "scheme": request.options.symmetry.name(),
            "scale_dtype": request.options.scale_dtype,
            "include": request.include,
            "exclude": request.exclude,
            "overrides": overrides,
            "max_size": request.max_size.map(|size| size.to_string()),
            "stub": self.has_stub(),
        });
        match record {
            Value::Object(record) => record,
            _ => Map::new(),
        }
    }
}

fn shape_of(meta: &TensorMeta) -> [usize; 2] {
    meta.matrix().map_or([0, 0], |(rows, columns)| [rows, columns])
}

fn analyze<'c>(
    checkpoint: &'c Checkpoint,
    codecs: &[&'static dyn Codec],
    request: &Request,
    id: TensorId,
    tied: Vec<TensorId>,
    target: Target,
    observer: &dyn Observer,
) -> Result<Chosen<'c>> {
    let meta = checkpoint.meta(id);
    let rows = checkpoint.rows(id)?;
    let table = Table { name: &meta.name, dtype: meta.dtype, rows: rows.as_ref() };
    let direct = match target {
        Target::Reduction(reduction) => Some(DirectTarget::Reduction(reduction)),
        Target::Rank(rank) => Some(DirectTarget::Rank(rank)),
        Target::Bits(bits) => Some(DirectTarget::Bits(bits)),
        Target::Energy(_) | Target::MaxError(_) | Target::Size(_) => None,
    };
    let analyze = |codec: &'static dyn Codec| {
        let setting = direct.map(|direct| codec.resolve(&table, &request.options, direct)).transpose()?;
        let demand = setting.as_ref().map_or(Demand::Ladder, Demand::Only);
        observer.stage("analyze", &meta.name, meta.bytes().unwrap_or_default());
        codec.analyze(&table, &request.options, demand, observer)
    };
    let (analysis, squared_norm, points) = match codecs {
        [codec] => {
            let analysis = analyze(*codec)?;
            let points = analysis.points().iter().map(|point| (*codec, point.clone())).collect();
            let squared_norm = analysis.squared_norm();
            (Some(analysis), squared_norm, points)
        }
        several => {
            auto::check(target)?;
            let (squared_norm, points) = auto::merge(several, analyze)?;
            (None, squared_norm, points)
        }
    };
    let (codecs, points) = points.into_iter().unzip();
    Ok(Chosen { id, tied, target, rows, analysis, squared_norm, points, codecs, point: 0, runners_up: Vec::new() })
}
