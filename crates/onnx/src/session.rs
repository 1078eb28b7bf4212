// SPDX-License-Identifier: MPL-2.0
use super::control::{Control, Doing, Ends, cancelled};
use super::gate::Gate;
use super::{Error, Provider, Runtime};
use ort::AsPointer;
use ort::ep::ExecutionProvider as _;
use ort::session::{RunOptions, SessionInputValue};
use ort::value::{TensorElementType, TensorRef, ValueType};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Creating TensorRT or CUDA sessions from several threads at once crashes.
static GPU: Gate = Gate::new();

/// A graph: the bytes of an ONNX file, and the name by which errors call it.
#[derive(Debug, Clone, Copy)]
pub struct ModelSource<'a> {
    /// What errors and [`Step`](crate::Step) call the graph.
    pub name: &'a str,
    /// The content of the ONNX file.
    pub bytes: &'a [u8],
}

/// How a session shall be made.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// What runs the graph.
    pub provider: Provider,
    /// GPU index, as the provider counts.
    pub device_id: i32,
    /// Directory for built TensorRT engines; `None` builds anew each time.
    pub engine_cache: Option<PathBuf>,
    /// Threads inside one operator.
    pub threads: usize,
    /// Symbolic dimensions of the graph, pinned to a size.
    pub fixed_dims: Vec<(String, i64)>,
    /// Shows what the session does, and ends it.
    pub control: Control,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            provider: Provider::Auto,
            device_id: 0,
            engine_cache: None,
            threads: 1,
            fixed_dims: Vec::new(),
            control: Control::default(),
        }
    }
}

/// An input or output of a graph. All are float32.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// The graph's name of it.
    pub name: String,
    /// `None` where the graph leaves the size open.
    pub shape: Vec<Option<usize>>,
}

impl TensorSpec {
    /// The shape as people write it: `[1,?,52]`.
    pub fn shape_text(&self) -> String {
        let dims: Vec<_> = self
            .shape
            .iter()
            .map(|d| d.map_or("?".into(), |d| d.to_string()))
            .collect();
        format!("[{}]", dims.join(","))
    }

    /// Whether a tensor of this shape fits.
    pub fn accepts(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self
                .shape
                .iter()
                .zip(shape)
                .all(|(want, got)| want.is_none_or(|w| w == *got))
    }
}

/// An output.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The graph's name of it.
    pub name: String,
    /// Its size in each dimension.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub data: Vec<f32>,
}

/// A rung of the provider ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    Cpu,
    Cuda,
    TensorRt,
}

impl Rung {
    const ALL: [Self; 3] = [Self::TensorRt, Self::Cuda, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }

    /// From ONNX Runtime's own name.
    fn from_ep_name(name: &str) -> Option<Self> {
        match name {
            "TensorrtExecutionProvider" => Some(Self::TensorRt),
            "CUDAExecutionProvider" => Some(Self::Cuda),
            "CPUExecutionProvider" => Some(Self::Cpu),
            _ => None,
        }
    }
}

/// A graph, ready to run. Not to be shared between threads while it runs.
pub struct Session {
    name: String,
    session: ort::session::Session,
    control: Control,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    active: Rung,
    assignment: Vec<(String, usize)>,
    warnings: Vec<String>,
}

impl Runtime {
    /// Makes a session on the provider that `options` asks for.
    ///
    /// # Errors
    /// [`Error::Provider`] when an explicit provider is missing, does not load, has no
    /// device or takes no node of the graph; [`Error::Graph`] when the graph itself is
    /// refused; [`Error::Contract`] for inputs or outputs that are not float32 tensors;
    /// [`Error::Cancelled`] where the control of `options` ended it.
    pub fn session(
        &self,
        source: ModelSource<'_>,
        options: &SessionOptions,
    ) -> Result<Session, Error> {
        let rungs: &[Rung] = match options.provider {
            Provider::Auto => &Rung::ALL,
            Provider::TensorRt => &[Rung::TensorRt],
            Provider::Cuda => &[Rung::Cuda],
            Provider::Cpu => &[Rung::Cpu],
        };
        let mut warnings = Vec::new();
        for &rung in rungs {
            match self.session_on(rung, source, options) {
                Ok(mut session) => {
                    session.warnings = warnings;
                    return Ok(session);
                }
                // The CPU runs every graph: what it refuses is the graph's own fault.
                Err(e) if rung == Rung::Cpu => return Err(e),
                Err(Error::Provider { provider, reason }) => {
                    if options.provider != Provider::Auto {
                        return Err(Error::Provider { provider, reason });
                    }
                    warnings.push(format!("{provider}: {}", reason.trim_end_matches('.')));
                }
                Err(e) => return Err(e),
            }
        }
        unreachable!("every ladder ends in a returned result")
    }

    /// Whether making this session on TensorRT would first build an engine (minutes).
    pub fn will_build_engine(&self, source: ModelSource<'_>, options: &SessionOptions) -> bool {
        let wanted = matches!(options.provider, Provider::Auto | Provider::TensorRt);
        let usable = || {
            let mut builder = ort::session::Session::builder(&self.environment).ok()?;
            ort::ep::TensorRT::default().register(&mut builder).ok()
        };
        wanted
            && usable().is_some()
            && !engine_directory(source, options).is_some_and(|d| holds_engine(&d))
    }

    fn session_on(
        &self,
        rung: Rung,
        source: ModelSource<'_>,
        options: &SessionOptions,
    ) -> Result<Session, Error> {
        let graph = |reason: String| Error::Graph {
            model: source.name.to_string(),
            reason,
        };
        let provider = |reason: String| Error::Provider {
            provider: rung.name(),
            reason,
        };

        let control = &options.control;
        let _one_at_a_time = match rung {
            Rung::Cpu => None,
            _ => Some(GPU.enter(control, source.name, rung.name())?),
        };
        let mut builder = self.builder(options).map_err(|e| graph(e.to_string()))?;
        let engines = engine_directory(source, options);
        let doing = match rung {
            Rung::TensorRt if !engines.as_deref().is_some_and(holds_engine) => Doing::Building,
            _ => Doing::Loading,
        };
        let going = control.begin(source.name, doing, Ends::Load(builder.canceler()))?;
        let mut cache_lock = None;
        if rung == Rung::TensorRt {
            let mut ep = ort::ep::TensorRT::default()
                .with_device_id(options.device_id)
                .with_fp16(false)
                .with_timing_cache(options.engine_cache.is_some());
            if let Some(directory) = engines {
                cache_lock = Some(lock_directory(&directory).map_err(|e| {
                    provider(format!(
                        "the engine cache {} cannot be written: {e}; set engine-cache-dir",
                        directory.display()
                    ))
                })?);
                let path = directory.to_string_lossy().into_owned();
                ep = ep
                    .with_engine_cache(true)
                    .with_engine_cache_path(&path)
                    .with_timing_cache_path(&path);
            }
            ep.register(&mut builder)
                .map_err(|e| provider(e.to_string()))?;
        }
        if rung >= Rung::Cuda {
            ort::ep::CUDA::default()
                .with_device_id(options.device_id)
                .register(&mut builder)
                .map_err(|e| provider(e.to_string()))?;
        }
        let session = builder
            .commit_from_memory(source.bytes)
            .map_err(|e| match rung {
                _ if going.is_called_off() => cancelled(source.name),
                Rung::Cpu => graph(e.to_string()),
                // Without a device the providers register and only the commit fails.
                _ => provider(e.to_string()),
            })?;
        drop(cache_lock);
        if going.is_called_off() {
            return Err(cancelled(source.name));
        }

        let assignment = assignment(&session).map_err(|e| graph(e.to_string()))?;
        let active = assignment
            .iter()
            .filter_map(|(name, _)| Rung::from_ep_name(name))
            .max()
            .unwrap_or(Rung::Cpu);
        if active < rung {
            return Err(provider(format!(
                "it took no node of {}; ONNX Runtime assigned {}",
                source.name,
                assignment_text(&assignment)
            )));
        }
        let specs = |outlets: &[ort::value::Outlet], role| {
            outlets
                .iter()
                .map(|o| tensor_spec(source.name, role, o))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Session {
            name: source.name.to_string(),
            inputs: specs(session.inputs(), "input")?,
            outputs: specs(session.outputs(), "output")?,
            session,
            control: control.clone(),
            active,
            assignment,
            warnings: Vec::new(),
        })
    }

    fn builder(
        &self,
        options: &SessionOptions,
    ) -> ort::Result<ort::session::builder::SessionBuilder> {
        let mut builder = ort::session::Session::builder(&self.environment)?
            .with_intra_threads(options.threads.max(1))?
            .with_inter_threads(1)?
            // A spinning pool takes a core from the video at one answer per second.
            .with_intra_op_spinning(false)?
            .with_deterministic_compute(true)?
            .with_config_entry("session.record_ep_graph_assignment_info", "1")?;
        for (name, size) in &options.fixed_dims {
            builder = builder.with_dimension_override(name, *size)?;
        }
        Ok(builder)
    }
}

impl Session {
    /// The name of its [`ModelSource`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a run takes, in the graph's order.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// What a run gives, in the graph's order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// `tensorrt`, `cuda` or `cpu`: the highest provider that ONNX Runtime itself
    /// reports to hold nodes of this graph.
    pub fn active_provider(&self) -> &'static str {
        self.active.name()
    }

    /// ONNX Runtime's provider names and how many nodes each runs.
    pub fn assignment(&self) -> &[(String, usize)] {
        &self.assignment
    }

    /// Why higher rungs of the ladder were left.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The control of the options that it was made with.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Runs the graph once. `inputs` are name, shape and row-major values; outputs
    /// come in the graph's order.
    ///
    /// # Errors
    /// [`Error::Contract`] for a shape that does not fit, [`Error::Cancelled`],
    /// [`Error::Run`].
    pub fn run(&mut self, inputs: &[(&str, &[usize], &[f32])]) -> Result<Vec<Tensor>, Error> {
        let failed = |name: &str, e: ort::Error| Error::Run {
            model: name.to_string(),
            reason: e.to_string(),
        };
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(inputs.len());
        for (name, shape, data) in inputs {
            let view = TensorRef::from_array_view((shape.to_vec(), *data))
                .map_err(|e| failed(&self.name, e))?;
            values.push((Cow::Borrowed(*name), view.into()));
        }
        let options = Arc::new(RunOptions::new().map_err(|e| failed(&self.name, e))?);
        let ends = Ends::Run(options.clone());
        let going = self.control.begin(&self.name, Doing::Running, ends)?;
        let outputs = self
            .session
            .run_with_options::<_, 0>(ort::session::SessionInputs::ValueMap(values), &options);
        if going.is_called_off() {
            return Err(cancelled(&self.name));
        }
        let outputs = outputs.map_err(|e| failed(&self.name, e))?;
        let mut tensors = Vec::with_capacity(self.outputs.len());
        for spec in &self.outputs {
            let value = &outputs[spec.name.as_str()];
            let (shape, data) = value
                .try_extract_tensor::<f32>()
                .map_err(|e| failed(&self.name, e))?;
            tensors.push(Tensor {
                name: spec.name.clone(),
                shape: shape.iter().map(|d| *d as usize).collect(),
                data: data.to_vec(),
            });
        }
        Ok(tensors)
    }
}

fn tensor_spec(
    model: &str,
    role: &'static str,
    outlet: &ort::value::Outlet,
) -> Result<TensorSpec, Error> {
    match outlet.dtype() {
        ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape,
            ..
        } => Ok(TensorSpec {
            name: outlet.name().to_string(),
            shape: shape.iter().map(|d| usize::try_from(*d).ok()).collect(),
        }),
        other => Err(Error::Contract {
            model: model.to_string(),
            role,
            what: format!("'{}'", outlet.name()),
            expected: "a float32 tensor".into(),
            found: other.to_string(),
        }),
    }
}

/// Which provider runs how many nodes, in ONNX Runtime's own words.
fn assignment(session: &ort::session::Session) -> ort::Result<Vec<(String, usize)>> {
    let api = ort::api();
    // SAFETY: used below on what a call has just returned, once.
    let check = |status| unsafe { ort::Error::result_from_status(status) };
    let mut subgraphs = std::ptr::null();
    let mut count = 0;
    // SAFETY: the session is alive, and the results are written to variables that outlive the
    // call. The array belongs to the session, as does everything that is read from it below.
    check(unsafe {
        (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count)
    })?;
    let mut found: Vec<(String, usize)> = Vec::new();
    for i in 0..count {
        // SAFETY: the array has `count` elements.
        let subgraph = unsafe { *subgraphs.add(i) };
        let mut name = std::ptr::null();
        // SAFETY: the subgraph is one of the session's, and `name` outlives the call.
        check(unsafe { (api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name) })?;
        let mut nodes = std::ptr::null();
        let mut node_count = 0;
        // SAFETY: as above, for `nodes` and `node_count`.
        check(unsafe { (api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count) })?;
        // SAFETY: the call that gave the name succeeded; the text is terminated by NUL, belongs
        // to the session, and is copied here.
        let name = unsafe { std::ffi::CStr::from_ptr(name) };
        let name = name.to_string_lossy().into_owned();
        match found.iter_mut().find(|(n, _)| *n == name) {
            Some((_, n)) => *n += node_count,
            None => found.push((name, node_count)),
        }
    }
    Ok(found)
}

fn assignment_text(assignment: &[(String, usize)]) -> String {
    let parts: Vec<_> = assignment
        .iter()
        .map(|(n, c)| format!("{n} {c} nodes"))
        .collect();
    if parts.is_empty() {
        "no nodes".into()
    } else {
        parts.join(", ")
    }
}

/// One directory per graph, library build and pinned shapes: an engine found there
/// is never one of another model. ONNX Runtime adds the GPU's architecture itself.
fn engine_directory(source: ModelSource<'_>, options: &SessionOptions) -> Option<PathBuf> {
    let root = options.engine_cache.as_ref()?;
    let mut hash = Sha256::new();
    hash.update(source.bytes);
    hash.update(ort::info());
    for (name, size) in &options.fixed_dims {
        hash.update(format!("{name}={size};"));
    }
    Some(root.join(&hex(&hash.finalize())[..32]))
}

fn holds_engine(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|e| e.path().extension().is_some_and(|x| x == "engine"))
    })
}

/// Two processes must not build into one directory at once; the lock falls with the file.
fn lock_directory(directory: &Path) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(directory)?;
    let file = std::fs::File::create(directory.join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// The SHA-256 of `bytes` in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
}
