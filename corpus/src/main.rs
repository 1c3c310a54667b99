//! `neap-corpus`: lists the recipes and builds their pairs. Owns the command line and exit codes.
//!
//! | code | meaning                              |
//! |------|--------------------------------------|
//! |    0 | every pair asked for is there        |
//! |    1 | at least one pair could not be built |
//! |    2 | the command line is wrong            |

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use neap_corpus::{
    Builder, CorpusError, Recipe, Set, default_cache, load, recipes, recipes_folder,
};

/// Build real update pairs from public packages.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the pairs, and which of them are built.
    List(Choice),
    /// Fetch packages and build the pairs that are not in the cache.
    ///
    /// Example: neap-corpus build --set small
    Build {
        #[command(flatten)]
        choice: Choice,
        /// Build anew, from the newest versions, what is in the cache already.
        #[arg(long)]
        refresh: bool,
    },
}

#[derive(Args)]
struct Choice {
    /// Pairs by name; all of the set if none is named.
    names: Vec<String>,
    /// Set of pairs.
    #[arg(long, value_enum, default_value = "full")]
    set: SetName,
    /// Folder for packages and pairs [default: .cache/corpus, or NEAP_CORPUS_CACHE].
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Folder with the recipes [default: those of this crate].
    #[arg(long)]
    recipes: Option<PathBuf>,
    /// Print JSON: one array of what `pair.json` holds.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SetName {
    Small,
    Full,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.verb {
        Verb::List(choice) => list(choice),
        Verb::Build { choice, refresh } => build(choice, *refresh),
    };
    outcome.unwrap_or_else(|error| {
        complain("", &error);
        ExitCode::FAILURE
    })
}

impl Choice {
    fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(default_cache)
    }

    /// The recipes asked for, those of the small set first: they are soonest of use.
    fn chosen(&self) -> Result<Vec<Recipe>, CorpusError> {
        let folder = self.recipes.clone().unwrap_or_else(recipes_folder);
        let mut all = recipes(&folder)?;
        let unknown = self.names.iter().find(|name| !all.iter().any(|it| it.pair.name == **name));
        if let Some(name) = unknown {
            let fact = "no recipe has this name; `neap-corpus list` shows them".into();
            return Err(CorpusError::Recipe { name: name.clone(), fact });
        }
        let set = match self.set {
            SetName::Small => Set::Small,
            SetName::Full => Set::Full,
        };
        all.retain(|it| {
            it.pair.sets.contains(&set)
                && (self.names.is_empty() || self.names.contains(&it.pair.name))
        });
        all.sort_by_key(|it| !it.pair.sets.contains(&Set::Small));
        Ok(all)
    }
}

fn list(choice: &Choice) -> Result<ExitCode, CorpusError> {
    let built = load(&choice.cache())?;
    let chosen = choice.chosen()?;
    let found = |recipe: &Recipe| built.iter().find(|pair| pair.name == recipe.pair.name);
    if choice.json {
        print_json(&chosen.iter().filter_map(found).collect::<Vec<_>>());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<28} {:<22} {:<5} {:>13} {:>13}", "name", "kind", "set", "source", "target");
    for recipe in &chosen {
        let small = recipe.pair.sets.contains(&Set::Small);
        let sizes = match found(recipe) {
            Some(pair) => format!("{:>13} {:>13}", pair.source_size, pair.target_size),
            None => format!("{:>13}", "not built"),
        };
        let set = if small { "small" } else { "full" };
        println!("{:<28} {:<22} {set:<5} {sizes}", recipe.pair.name, recipe.pair.kind.word());
    }
    Ok(ExitCode::SUCCESS)
}

fn build(choice: &Choice, refresh: bool) -> Result<ExitCode, CorpusError> {
    let mut report = |line: &str| eprintln!("{line}");
    let mut builder = Builder::new(&choice.cache(), &mut report)?;
    let mut built = Vec::new();
    let mut failed_count = 0;
    for recipe in choice.chosen()? {
        match builder.build(&recipe, refresh) {
            Ok(pair) => {
                if !choice.json {
                    println!("{}: {} -> {}", pair.name, pair.source_version, pair.target_version);
                }
                built.push(pair);
            }
            Err(error) => {
                failed_count += 1;
                complain(&format!("{}: ", recipe.pair.name), &error);
            }
        }
    }
    builder.finish()?;
    if choice.json {
        print_json(&built);
    }
    eprintln!("{} pairs ready, {failed_count} not", built.len());
    Ok(if failed_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_json<T: serde::Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: the list of pairs: {error}"),
    }
}

fn complain(name: &str, error: &CorpusError) {
    eprintln!("error: {name}{error}");
    eprintln!("state: the cache keeps what was built before");
    eprintln!("next:  {}", error.next_step());
}
