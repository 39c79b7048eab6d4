// Package ci tests the samples for CI systems beside it: what they name has to be there.
package ci

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

// root is the repository's.
const root = "../.."

// sample is one system's file: what begins a line of the job for a real lab, and what has to stand in each of the two jobs, by
// regular expressions.
type sample struct {
	comment string
	yaml    bool
	jobs    [2]string   // where the jobs stand in it
	both    []string    // in each job
	own     [2][]string // in one
}

const (
	yes      = `always\(\)|when: always|always \{`
	putAway  = `cp -rL out/latest storage-failures`
	theBox   = `make run LAB=hack/labs/esxi\.yaml`
	allowed  = `--lab my-lab\.yaml --allow-outage`
	putBack  = `bin/apd undo my-lab\.yaml`
	theJUnit = `storage-failures/junit(-full)?\.xml`
)

var samples = map[string]sample{
	"github.yml": {"# ", true, [2]string{"$.jobs.box", "$.jobs.my-lab"}, []string{`timeout-minutes: \d+`, `group: apd-`, yes, putAway, `archive: false`, `storage-failures/report\.html`,
		`summary\.md >> "?\$GITHUB_STEP_SUMMARY`, `upload-artifact@v7`},
		[2][]string{{theBox, `report_paths: ` + theJUnit}, {allowed, putBack, `secrets\.`, `cancel-in-progress: false`, `environment: my-lab`}}},
	"gitlab-ci.yml": {"# ", true, [2]string{"$.box", "$.my-lab"}, []string{`timeout: \dh`, `resource_group: apd-`, yes, putAway, `expose_as: `, `junit: ` + theJUnit,
		`metrics: storage-failures/metrics\.txt`}, [2][]string{{theBox}, {allowed, putBack, `GOVC_PASSWORD: \$MY_LAB_PASSWORD`, `interruptible: false`}}},
	"azure-pipelines.yml": {"# ", true, [2]string{"$.jobs[0]", "$.jobs[1]"}, []string{`timeoutInMinutes: \d+`, yes, putAway, `PublishTestResults@2`, `testResultsFiles: ` + theJUnit, `publish: storage-failures`},
		[2][]string{{theBox}, {allowed, putBack, `GOVC_PASSWORD: \$\(MY_LAB_PASSWORD\)`, `environment: my-lab`}}},
	"Jenkinsfile": {"// ", false, [2]string{}, []string{`timeout\(time: \d+, unit: 'MINUTES'\)`, `disableConcurrentBuilds\(\)`, yes, putAway, theJUnit, `keepProperties: true`, `attachments\(\)`,
		`archiveArtifacts`}, [2][]string{{theBox}, {allowed, putBack, `credentials\('`, `lock\(resource: 'apd-`}}},
}

// known is what a sample may name.
type known struct {
	files   []string // that a run's folder has
	targets []string // of make
	vars    []string
	flags   map[string][]string // of apd's commands
}

// whatIsThere asks those who know: a run's folder for its files, the Makefile for its targets, apd for its flags.
func whatIsThere(t *testing.T) known {
	t.Helper()
	g := NewWithT(t)
	k := known{flags: map[string][]string{}}
	dir := filepath.Join(t.TempDir(), "run")
	w, err := record.Create(dir, drivers.Clock{Zero: time.Now()}, record.Header{ID: "run", Lab: "l", LabKind: drivers.Embedded})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Close("done")).To(Succeed())
	r, err := record.Read(dir)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = reports.Write(r, dir, reports.Options{Root: dir, Dir: dir})
	g.Expect(err).NotTo(HaveOccurred())
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		k.files = append(k.files, e.Name())
	}

	mk, err := os.ReadFile(filepath.Join(root, "Makefile"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllSubmatch(mk, -1) {
		k.targets = append(k.targets, string(m[1]))
	}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z]+) +\?=`).FindAllSubmatch(mk, -1) {
		k.vars = append(k.vars, string(m[1]))
	}
	bin := filepath.Join(t.TempDir(), "apd")
	out, err := exec.Command("go", "build", "-o", bin, root+"/hack/apd").CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	for _, command := range []string{"run", "undo"} {
		help, _ := exec.Command(bin, command, "--help").CombinedOutput() // it ends with 2, as a call that does nothing
		for _, m := range regexp.MustCompile(`(?m)^ +-([a-z-]+)`).FindAllSubmatch(help, -1) {
			k.flags[command] = append(k.flags[command], string(m[1]))
		}
		g.Expect(k.flags[command]).NotTo(BeEmpty(), string(help))
	}
	return k
}

// split takes a sample apart: the text of the job for the box, and the whole with the other job's comments taken away.
func split(s sample, text string) (box, whole string, found bool) {
	var head, real strings.Builder
	marker := s.comment[:len(s.comment)-1] + " ----"
	for l := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(l, marker):
			found = true
		case found:
			real.WriteString(strings.TrimPrefix(l, s.comment))
		default:
			head.WriteString(l)
		}
	}
	return head.String(), head.String() + real.String(), found
}

// problems is what is wrong with a sample.
func problems(s sample, k known, text string) (out []string) {
	bad := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	box, whole, found := split(s, text)
	if !found {
		bad("there is no job for a real lab")
	}
	jobs := [2]string{box, strings.TrimPrefix(whole, box)}
	if s.yaml {
		for i, of := range []string{box, whole} {
			var doc any
			if err := yaml.NewDecoder(strings.NewReader(of), yaml.Strict()).Decode(&doc); err != nil {
				bad("not YAML: %v", err)
				continue
			}
			p, err := yaml.PathString(s.jobs[i])
			if err != nil {
				bad("%v", err)
				continue
			}
			job, err := p.ReadNode(bytes.NewReader([]byte(of)))
			if err != nil {
				bad("there is no job at %s: %v", s.jobs[i], err)
				continue
			}
			jobs[i] = job.String()
		}
	} else {
		for _, of := range jobs {
			if err := balanced(of); err != nil {
				bad("%v", err)
			}
		}
	}
	for i, job := range jobs {
		for _, want := range slices.Concat(s.both, s.own[i]) {
			if !regexp.MustCompile(want).MatchString(job) {
				bad("job %d has nothing like %s", i+1, want)
			}
		}
	}
	if strings.Contains(jobs[0], "GOVC_") || regexp.MustCompile(`(?m)GOVC_PASSWORD[:= ]+['"]?[A-Za-z0-9]+['"]?$`).MatchString(jobs[1]) {
		bad("a password stands in the file")
	}
	return append(out, names(k, whole)...)
}

var (
	paths  = regexp.MustCompile(`storage-failures/([^\s'"]*)`)
	outs   = regexp.MustCompile(`\bout/([^\s'"]*)`)
	makes  = regexp.MustCompile(`\bmake +([^\n"#]*)`)
	calls  = regexp.MustCompile(`bin/apd ([a-z]+)([^\n"#]*)`)
	labs   = regexp.MustCompile(`\S*hack/labs/\S+\.yaml`)
	filter = regexp.MustCompile(`(?:LABELS=|--labels )'([^']*)'`)
)

// names looks up what a sample names.
func names(k known, text string) (out []string) {
	bad := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	for _, m := range paths.FindAllStringSubmatch(text, -1) {
		if p := m[1]; p != "" && p != "**" && !slices.Contains(k.files, strings.TrimSuffix(p, "/")) {
			bad("no run writes %s", p)
		}
	}
	for _, m := range outs.FindAllStringSubmatch(text, -1) {
		if m[1] != "" && m[1] != "latest" {
			bad("out/%s depends on how a system follows links", m[1])
		}
	}
	for _, m := range makes.FindAllStringSubmatch(text, -1) {
		line := filter.ReplaceAllString(m[1], "LABELS=x")
		for _, w := range strings.Fields(strings.Trim(line, `'"`)) {
			name, _, isVar := strings.Cut(w, "=")
			if isVar && !slices.Contains(k.vars, name) || !isVar && !slices.Contains(k.targets, w) {
				bad("make knows no %s", w)
			}
		}
	}
	for _, m := range calls.FindAllStringSubmatch(text, -1) {
		flags, ok := k.flags[m[1]]
		if !ok {
			bad("apd %s is not looked at here", m[1])
		}
		for _, f := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(flags, f[1]) {
				bad("apd %s has no flag --%s", m[1], f[1])
			}
		}
	}
	for _, lab := range labs.FindAllString(text, -1) {
		lab = lab[strings.Index(lab, "hack/"):]
		if _, err := os.Stat(filepath.Join(root, lab)); err != nil {
			bad("there is no lab file %s", lab)
		}
	}
	for _, m := range filter.FindAllStringSubmatch(text, -1) {
		if _, err := types.ParseLabelFilter(m[1]); err != nil {
			bad("labels %s: %v", m[1], err)
		}
	}
	return out
}

// balanced checks what a Jenkinsfile's reader checks first: quotes and brackets.
func balanced(text string) error {
	var open []rune
	closes := map[rune]rune{')': '(', ']': '[', '}': '{'}
	for n, line := range strings.Split(text, "\n") {
		quote := rune(0)
	line:
		for i, r := range line {
			switch {
			case quote != 0:
				if r == quote {
					quote = 0
				}
			case strings.HasPrefix(line[i:], "//"):
				break line // the rest is a comment
			case r == '\'' || r == '"':
				quote = r
			case strings.ContainsRune("([{", r):
				open = append(open, r)
			case closes[r] != 0:
				if len(open) == 0 || open[len(open)-1] != closes[r] {
					return fmt.Errorf("line %d: %c closes nothing", n+1, r)
				}
				open = open[:len(open)-1]
			}
		}
		if quote != 0 {
			return fmt.Errorf("line %d: a quote is open", n+1)
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%c is not closed", open[len(open)-1])
	}
	return nil
}

func TestSamples(t *testing.T) {
	k := whatIsThere(t)
	for name, s := range samples {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b, err := os.ReadFile(name)
			g.Expect(err).NotTo(HaveOccurred())
			text := string(b)
			g.Expect(problems(s, k, text)).To(BeEmpty())
			// Every check can fail: each of these spoils the sample wherever it stands.
			for from, to := range map[string]string{
				"storage-failures/junit": "storage-failures/jnit", "make run": "make rum", "LABELS=": "LABLES=", "--allow-outage": "--allow-outages", "undo my-lab": "undoo my-lab",
				"!soak &&": "!soak &&&", "hack/labs/esxi.yaml": "hack/labs/esx.yaml", "cp -rL": "cp -r", "always": "sometimes", " ----": " --", "bin/apd run": "bin/apd rum",
				"out/latest storage": "out/latest/* storage",
			} {
				g.Expect(text).To(ContainSubstring(from))
				g.Expect(problems(s, k, strings.ReplaceAll(text, from, to))).NotTo(BeEmpty(), "%s for %s", to, from)
			}
			g.Expect(problems(s, k, "[(\n"+text)).NotTo(BeEmpty(), "the file cannot be read")
		})
	}
	g := NewWithT(t)
	files, err := os.ReadDir(".")
	g.Expect(err).NotTo(HaveOccurred())
	for _, f := range files {
		_, tested := samples[f.Name()]
		g.Expect(tested || strings.HasSuffix(f.Name(), "_test.go")).To(BeTrue(), f.Name())
	}
}

// TestAPasswordInASampleIsFound: one that was written where the secret's name stood.
func TestAPasswordInASampleIsFound(t *testing.T) {
	g := NewWithT(t)
	b, err := os.ReadFile("github.yml")
	g.Expect(err).NotTo(HaveOccurred())
	spoilt := strings.ReplaceAll(string(b), "${{ secrets.MY_LAB_PASSWORD }}", "Secret1")
	const found = "a password stands in the file"
	g.Expect(problems(samples["github.yml"], known{}, spoilt)).To(ContainElement(found))
	g.Expect(problems(samples["github.yml"], known{}, string(b))).NotTo(ContainElement(found))
	g.Expect(balanced("a('b') { [c] } // }}}\n")).To(Succeed())
	for _, bad := range []string{"a(", "a)", "'open", "(]"} {
		g.Expect(balanced(bad)).NotTo(Succeed(), bad)
	}
}
