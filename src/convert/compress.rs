//! Encodes the tables of a checkpoint: prepares a plan, then runs it.

use std::path::Path;

use super::carrier::{Carrier, Placed};
use super::{Finished, assembly, auto, config, layout, refuse_overlap, source, words};
use crate::checkpoint::{Checkpoint, Selected, TensorId, is_weights};
use crate::codec::{
    Analysis, Codec, Demand, DirectTarget, Measured, Native, Options, PartSink, Point, Products, Table,
};
use crate::error::{Error, ErrorKind, Result};
use crate::locate::Selection;
use crate::manifest::{
    FileRecord, Manifest, Operation, RunnerUp, SCHEMA_VERSION, Source, TableRecord, WeightsBytes, weights_of,
};
use crate::observe::Observer;
use crate::output::{Replace, StagedDirectory, digest_file};
use crate::plan::{Ladder, Override, Overrides, Plan, Size, Step, Target, fit_size};
use crate::stub;
use crate::tensor::{Precision, Rows};

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
    /// Who reads the tables, one of [`choices`](super::carrier_choices): the loader of the stub, or a place that the
    /// architecture has.
    pub carrier: String,
}

/// A checkpoint with a plan for it.
pub struct Prepared<'c> {
    pub(super) checkpoint: &'c Checkpoint,
    pub(super) request: &'c Request,
    pub(super) tables: Vec<Chosen<'c>>,
    pub(super) plan: Plan,
    pub(super) carrier: Option<&'static dyn Carrier>,
}

/// A table on its way to an operating point.
pub(super) struct Chosen<'c> {
    pub(super) id: TensorId,
    pub(super) tied: Vec<TensorId>,
    pub(super) target: Target,
    pub(super) rows: Box<dyn Rows + 'c>,
    /// What was learned of the numbers. Where several tables share a budget or several codecs compete only the ladders
    /// are kept, so that memory does not grow with their number, and each is looked at again when it is encoded.
    analysis: Option<Box<dyn Analysis>>,
    pub(super) squared_norm: f64,
    /// The points of every codec, by increasing bytes.
    pub(super) points: Vec<Point>,
    /// The codec of each point.
    pub(super) codecs: Vec<&'static dyn Codec>,
    pub(super) point: usize,
    /// What lost against it, where several codecs competed.
    pub(super) runners_up: Vec<RunnerUp>,
}

/// What came of encoding a table.
#[derive(Clone, Copy)]
pub(super) struct Encoded {
    pub(super) measured: Measured,
    pub(super) products: Option<Products>,
}

impl Encoded {
    fn by(
        analysis: &dyn Analysis,
        rows: &dyn Rows,
        point: usize,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let measured = analysis.encode(rows, point, sink, observer)?;
        let (limit, numbers) = match rows.precision() {
            Precision::Double => (f64::MAX, "doubles"),
            Precision::Single => (f64::from(f32::MAX), "singles"),
        };
        // Neither may it be no number at all.
        if measured.decoded_bound.is_nan() || measured.decoded_bound > limit {
            return Err(Error::new(
                ErrorKind::NonFinite,
                "decoding the table may go beyond the range of its arithmetic",
            )
            .expected(format!("{numbers}, of magnitudes up to {limit:e}"))
            .found(format!("a bound of {:e}", measured.decoded_bound))
            .hint("scale the table down, or leave it out with `--exclude`"));
        }
        Ok(Encoded { measured, products: analysis.products(point) })
    }
}

impl Chosen<'_> {
    pub(super) fn point(&self) -> &Point {
        &self.points[self.point]
    }

    pub(super) fn codec(&self) -> &'static dyn Codec {
        self.codecs[self.point]
    }
}

/// Compresses `checkpoint` as `request` says: writes the output to the new directory `destination`.
///
/// # Errors
/// Those of [`Prepared::new`]; [`ErrorKind::Output`] where `destination` cannot be made; [`ErrorKind::Gate`] where a
/// measured error is above the `max-error` that was asked for. Nothing is left behind then.
pub fn compress(
    checkpoint: &Checkpoint,
    request: &Request,
    destination: &Path,
    replace: Replace,
    observer: &dyn Observer,
) -> Result<Finished> {
    refuse_overlap(checkpoint, destination)?;
    let (own, (prepared, staged, files, tables)) = source::digested(checkpoint, observer, |observer| {
        let prepared = Prepared::new(checkpoint, request, observer)?;
        let staged = StagedDirectory::create(destination, replace)?;
        observer.begin();
        let (files, tables) = prepared.write_files(staged.path(), observer)?;
        Ok((prepared, staged, files, tables))
    })?;
    let placed = prepared.placed(&prepared.points())?;
    let is_copied = |path: &Path| !placed.files.iter().any(|(replaced, _)| replaced == path);
    let source = source::record(checkpoint, own, &files, &is_copied, observer)?;
    let mut manifest = prepared.manifest(source, files, tables)?;
    prepared.seal(staged.path(), &mut manifest, observer)?;
    let manifest_sha256 = assembly::write_manifest(&manifest, staged.path())?;
    observer.check()?;
    staged.publish()?;
    Ok(Finished { manifest, manifest_sha256 })
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
        for path in assembly::companions(checkpoint).filter(|path| is_weights(path)) {
            let name = path.display().to_string();
            observer.warn(&format!("`{}` holds weights too and is copied as it is", name.escape_debug()));
        }
        let codecs = auto::codecs(&request.method)?;
        if let Some(block_type) = request.options.block_type.filter(|_| !codecs.iter().all(|one| one.has_block_types()))
        {
            let names = crate::codec::CODECS.iter().filter(|codec| codec.has_block_types()).map(|codec| codec.name());
            return Err(Error::new(ErrorKind::Request, "the method has no block types")
                .expected(format!("`--method {}` with `--type {block_type}`", names.collect::<Vec<_>>().join(" or ")))
                .found(format!("`{}`", request.method)));
        }
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
            carrier: None,
        };
        prepared.carrier = prepared.choose_carrier(codecs.len())?;
        prepared.plan.weights_before = super::weights_before(checkpoint)?;
        prepared.choose()?;
        if codecs.len() > 1 {
            auto::contest(&mut prepared, observer)?;
        }
        prepared.plan.weights_after = prepared.weights_after(&prepared.points())?;
        prepared.plan.tables = prepared.tables.iter().map(|table| prepared.table_plan(table)).collect();
        prepared.gate()?;
        prepared.check_stub()?;
        prepared.warn_of_own_code(observer);
        Ok(prepared)
    }

    /// What will be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn manifest(&self, source: Source, files: Vec<FileRecord>, tables: Vec<TableRecord>) -> Result<Manifest> {
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
            carrier: self.carrier_record()?,
            weights_bytes: WeightsBytes { before: self.plan.weights_before, after: weights_of(&files) },
            files,
        })
    }

    /// Writes the digest of what the manifest says beside its files into those files that have a place for it.
    fn seal(&self, directory: &Path, manifest: &mut Manifest, observer: &dyn Observer) -> Result<()> {
        let core = manifest.core_sha256()?;
        for shard in self.shards(&self.points())? {
            let Some(form) = &shard.form else { continue };
            let path = directory.join(&shard.path);
            if form.seal(&path, &core)? {
                let name = assembly::path_text(&shard.path)?;
                let (bytes, sha256) = digest_file(&path, observer)?;
                for file in manifest.files.iter_mut().filter(|file| file.path == name) {
                    (file.bytes, file.sha256) = (bytes, sha256.clone());
                }
            }
        }
        manifest.weights_bytes.after = weights_of(&manifest.files);
        Ok(())
    }

    /// Writes everything but the records of the output; gives the records of the files and of the tables.
    fn write_files(&self, directory: &Path, observer: &dyn Observer) -> Result<(Vec<FileRecord>, Vec<TableRecord>)> {
        let shards = self.shards(&self.points())?;
        let mut encoded = vec![None; self.tables.len()];
        let mut files = Vec::new();
        for shard in &shards {
            let total = shard.tensors.iter().filter_map(|(meta, _)| meta.bytes()).sum();
            observer.stage("write", &shard.path.to_string_lossy(), total);
            let mut produce = |table: usize, sink: &mut dyn PartSink| {
                encoded[table] = Some(self.encode(&self.tables[table], sink, observer)?);
                Ok(())
            };
            files.extend(shard.write(directory, &mut produce, observer)?);
        }
        let placed = self.placed(&self.points())?;
        let is_kept = |path: &Path| !placed.files.iter().any(|(replaced, _)| replaced == path);
        files.extend(assembly::copy_companions(self.checkpoint, directory, &is_kept, observer)?);
        for (path, text) in &placed.files {
            files.push(assembly::write_small(directory, path, text.as_bytes())?);
        }
        files.extend(assembly::write_index(self.checkpoint, &shards, directory)?);
        files.extend(words::write(self.checkpoint, directory, true)?);
        if self.carrier.is_some() {
            files.extend(words::write_tokenizer(self.checkpoint, directory)?);
        }
        let tables = self.tables.iter().zip(encoded);
        let slots = tables.zip(&placed.slots);
        let tables = slots.filter_map(|((table, encoded), slots)| Some(self.table_record(table, slots, encoded?)));
        let tables: Vec<_> = tables.collect();
        files.extend(self.write_config(directory, &tables, &files, &placed)?);
        files.extend(self.write_stub(directory)?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((files, tables))
    }

    fn encode(&self, table: &Chosen<'_>, sink: &mut dyn PartSink, observer: &dyn Observer) -> Result<Encoded> {
        let meta = self.checkpoint.meta(table.id);
        let rows = table.rows.as_ref();
        let mut encode = || match &table.analysis {
            Some(analysis) => Encoded::by(analysis.as_ref(), rows, table.point, sink, observer),
            None => {
                let view = Table { name: &meta.name, dtype: meta.dtype, rows };
                let demand = Demand::Only(&table.point().setting);
                let analysis = table.codec().analyze(&view, &self.request.options, demand, observer)?;
                Encoded::by(analysis.as_ref(), rows, 0, sink, observer)
            }
        };
        let encoded = encode().map_err(|error| error.at(self.checkpoint.shard_path(table.id)).tensor(&meta.name))?;
        // What was minimized, and predicted.
        let measured = encoded.measured;
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
            _ => Ok(encoded),
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
                let total = |steps: &[usize]| self.weights_after(steps).unwrap_or(u64::MAX);
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

    /// The number of every table's point.
    pub(super) fn points(&self) -> Vec<usize> {
        self.tables.iter().map(|table| table.point).collect()
    }

    /// Whether the output gets the stub: it was asked for, its loader reads every table, and the checkpoint is one of a
    /// module, not word vectors, which get a class of their own.
    pub(super) fn has_stub(&self) -> bool {
        self.request.stub
            && self.carrier.is_none()
            && self.tables.iter().all(|table| stub::reads(table.codec().name()))
            && !self.checkpoint.shards().iter().any(|shard| shard.reader().vocabulary().is_some())
            && !super::keeps_form(self.checkpoint)
    }

    fn write_stub(&self, directory: &Path) -> Result<Vec<FileRecord>> {
        if !self.has_stub() {
            return Ok(Vec::new());
        }
        // Codes do not learn.
        let is_pair = |table: &Chosen<'_>| {
            let columns = self.checkpoint.meta(table.id).matrix().map_or(0, |(_, columns)| columns);
            table.codec().native(&table.point().setting, columns) == Some(Native::FactorPair)
        };
        let trains = self.tables.iter().all(is_pair);
        let programs = stub::paths(self.checkpoint.config().map(|file| file.path()));
        programs
            .filter(|(_, program)| trains || !program.trains)
            .map(|(path, program)| assembly::write_small(directory, &path, program.text.as_bytes()))
            .collect()
    }

    /// A model with code or a quantization method of its own is loaded by that, not by ours.
    fn warn_of_own_code(&self, observer: &dyn Observer) {
        let members = self.checkpoint.config().and_then(|file| file.value().as_object());
        let taken = members.and_then(|members| config::OWN_KEYS.into_iter().find(|key| members.contains_key(*key)));
        if let Some(key) = taken.filter(|_| self.has_stub()) {
            observer.warn(&format!(
                "the configuration has `{key}` of its own, which transformers follows: only `load_factorized` of \
                 rankfold_loader.py reads the output, or `rankfold restore`"
            ));
        }
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

    fn write_config(
        &self,
        directory: &Path,
        tables: &[TableRecord],
        files: &[FileRecord],
        placed: &Placed,
    ) -> Result<Option<FileRecord>> {
        let Some(configuration) = self.checkpoint.config() else { return Ok(None) };
        let text = configuration.text();
        if super::keeps_form(self.checkpoint) {
            return assembly::write_small(directory, configuration.path(), text.as_bytes()).map(Some);
        }
        let additions = config::Additions::new(tables, files, self.carrier.is_some())?;
        let named = self.has_stub() && additions.dispatches() && config::takes_loader(text);
        let named = if named { &config::name_loader(text) } else { text };
        let text = config::insert(&config::set(named, &placed.config)?, &additions)
            .map_err(|error| error.at(self.checkpoint.root().join(configuration.path())))?;
        assembly::write_small(directory, configuration.path(), text.as_bytes()).map(Some)
    }
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
    let offered = points.len();
    let points = layout::accepted(checkpoint, id, &tied, points)?;
    // An analysis has all of its points, by their numbers.
    let analysis = analysis.filter(|_| points.len() == offered);
    let (codecs, points) = points.into_iter().unzip();
    Ok(Chosen { id, tied, target, rows, analysis, squared_norm, points, codecs, point: 0, runners_up: Vec::new() })
}
