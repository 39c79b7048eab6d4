// This file has all that is ever run in the guest: fixed PowerShell texts. Each begins with a comment that names it. What
// differs from run to run comes as JSON in base64, which has no character that PowerShell or cmd.exe gives a meaning, and is
// only ever data there; larger input comes on standard input, a line of base64 at a time.

package windows

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/unicode"
)

// script is a PowerShell text. Its first line is "# apd: " and its name; argsMark stands where its arguments go.
type script string

const (
	scriptMark = "# apd: "
	argsMark   = "@ARGS@"
)

// prelude is behind the name: errors end a script, $a has the arguments, Reply prints what the driver reads.
const prelude = `
$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue'
$a=ConvertFrom-Json ([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('` + argsMark + `')))
function Reply($o){[Console]::Out.WriteLine('apd-reply '+[Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes((ConvertTo-Json $o -Depth 4 -Compress))))}
`

// scriptAlive does nothing: that it answers is what is asked.
const scriptAlive script = scriptMark + "alive" + prelude + `Reply @{ok=$true}
`

// scriptFacts reads what a guest is and how it is set up. The sources of its names are beside the fields of facts.
const scriptFacts script = scriptMark + "facts" + prelude + `function Reg($p,$n){$k=Get-ItemProperty -LiteralPath "HKLM:\$p" -ErrorAction SilentlyContinue;if($k){$k.$n}}
function Try1($b){try{&$b}catch{$null}}
$cv='SOFTWARE\Microsoft\Windows NT\CurrentVersion';$cc='SYSTEM\CurrentControlSet\Control\CrashControl'
$os=Get-CimInstance Win32_OperatingSystem
$me=New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
$sleep=Try1 {$n='root\cimv2\power'
$g=(@(Get-CimInstance -Namespace $n Win32_PowerPlan|?{$_.IsActive})[0].InstanceID -split '\\')[-1]
[int64]@(Get-CimInstance -Namespace $n Win32_PowerSettingDataIndex|?{$_.InstanceID -like "*$g\AC\{29f6c1db-86da-48c5-9fdb-f2b67b1f44da}"})[0].SettingIndexValue}
$repair=Try1 {$s=([wmiclass]'root\wmi:BcdStore').OpenStore('').Store
$s.OpenObject('{fa926493-6f1c-4193-a414-58f0b2456d1e}').Object.GetElement(0x16000009).Element.Boolean}
Reply @{os=$os.Caption;build="$(Reg $cv CurrentBuildNumber).$(Reg $cv UBR)";arch=$env:PROCESSOR_ARCHITECTURE
boot=$os.LastBootUpTime.ToUniversalTime().ToString('o');now=[DateTime]::UtcNow.ToString('o')
admin=$me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
disk_timeout=Reg 'SYSTEM\CurrentControlSet\Services\Disk' TimeOutValue
crash_dump=Reg $cc CrashDumpEnabled;auto_reboot=Reg $cc AutoReboot
page_file=@(Get-CimInstance Win32_PageFileUsage|%{"$($_.Name)"});sleep=$sleep;auto_repair=$repair}
`

// scriptPlace tells whether the agent lies in the guest already, whole, and makes the folder for it: for administrators and
// the system alone, by their security identifiers, which are the same in every language.
const scriptPlace script = scriptMark + "place" + prelude + `$d=Join-Path $env:ProgramData 'apd'
if(-not(Test-Path -LiteralPath $d)){[void](New-Item -ItemType Directory -Path $d)}
&icacls.exe $d /inheritance:r /grant '*S-1-5-32-544:(OI)(CI)F' '*S-1-5-18:(OI)(CI)F'|Out-Null
if($LASTEXITCODE -ne 0){throw "icacls: $LASTEXITCODE"}
$f=Join-Path $d $a.name;$h=''
if(Test-Path -LiteralPath $f){$h=(Get-FileHash -LiteralPath $f -Algorithm SHA256).Hash}
Reply @{path=$f;sha256=$h}
`

// scriptPush writes the agent: gzip in lines of base64. It replies with the hash of what then lies there.
const scriptPush script = scriptMark + "push\n" + `begin{` + prelude + `$d=Join-Path $env:ProgramData 'apd';$f=Join-Path $d $a.name
Get-ChildItem -LiteralPath $d -Filter 'agent-*'|Remove-Item -Force -ErrorAction SilentlyContinue
$z=[IO.File]::Create("$f.gz")}
process{if($_){$b=[Convert]::FromBase64String($_);$z.Write($b,0,$b.Length)}}
end{$z.Close();$in=[IO.File]::OpenRead("$f.gz");$g=New-Object IO.Compression.GZipStream($in,[IO.Compression.CompressionMode]::Decompress)
$o=[IO.File]::Create($f);$g.CopyTo($o);$o.Flush($true);$o.Close();$g.Close();$in.Close();Remove-Item -LiteralPath "$f.gz" -Force
Reply @{path=$f;sha256=(Get-FileHash -LiteralPath $f -Algorithm SHA256).Hash}}
`

// scriptStart starts the agent, unless the one called old still runs: then nothing is touched. Agents of other runs are
// ended, for each has a certificate that nobody holds any more. The new one's identity comes on standard input and lies in a
// file that it deletes.
//
// The process is made by WMI, for what a WinRM shell starts is in the shell's job and ends with it. Of the two known ways out,
// a scheduled task and Win32_Process.Create (github.com/jborean93/pypsrp, issue 108), this one leaves nothing in the guest
// that would have to be undone, and tells the process at once.
const scriptStart script = scriptMark + "start\n" + `begin{` + prelude + `$d=Join-Path $env:ProgramData 'apd';$t=''}
process{$t+=$_}
end{$all=@(Get-CimInstance Win32_Process|?{$_.ExecutablePath -and $_.ExecutablePath.StartsWith("$d\agent-",[StringComparison]::OrdinalIgnoreCase)})
$old=@($all|?{$a.old -and $_.CommandLine -match "-instance $([regex]::Escape($a.old))(\s|$)"})
if($old.Count){Reply @{running=$true;pid=$old[0].ProcessId;result=0};return}
$all|%{Stop-Process -Id $_.ProcessId -Force -ErrorAction SilentlyContinue}
Get-ChildItem -LiteralPath $d -Filter 'id-*'|Remove-Item -Force -ErrorAction SilentlyContinue
$i=Join-Path $d "id-$($a.instance).json";[IO.File]::WriteAllBytes($i,[Convert]::FromBase64String($t))
$l='"'+(Join-Path $d $a.name)+'" -identity "'+$i+'" -instance '+$a.instance+' -keep '+$a.keep
$r=Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{CommandLine=$l;CurrentDirectory=$d}
if($r.ReturnValue -ne 0){Remove-Item -LiteralPath $i -Force}
Reply @{running=$false;pid=$r.ProcessId;result=$r.ReturnValue}}
`

// scriptFirewall opens the agent's port or closes it again, and tells whether it was open.
const scriptFirewall script = scriptMark + "firewall" + prelude + `$n=$a.rule;$was=[bool](Get-NetFirewallRule -Name $n -ErrorAction SilentlyContinue)
if($a.open -and -not $was){[void](New-NetFirewallRule -Name $n -DisplayName $n -Direction Inbound -Action Allow -Protocol TCP -LocalPort $a.port -Profile Any)}
if(-not $a.open -and $was){Remove-NetFirewallRule -Name $n}
Reply @{was=$was}
`

// scriptHalt shuts the guest down in order; /f closes programs that ask whether to save. It answers before that.
const scriptHalt script = scriptMark + "halt" + prelude + `&shutdown.exe /s /f /t 3
if($LASTEXITCODE -ne 0){throw "shutdown.exe: $LASTEXITCODE"}
Reply @{ok=$true}
`

// scriptLogs reads the events that tell of a crash, a disk check and a repair, since a time. It says which event is what;
// what it means is the driver's to say. The names of the fields of an event's data are the provider's own, in no language.
const scriptLogs script = scriptMark + "logs" + prelude + `$since=[DateTime]::Parse($a.since,$null,'RoundtripKind').ToLocalTime()
$o=New-Object Collections.ArrayList
foreach($q in $a.queries){$f=@{LogName=$q.log;ProviderName=$q.provider;StartTime=$since};if($q.ids){$f.Id=[int[]]$q.ids}
foreach($e in @(try{Get-WinEvent -FilterHashtable $f -MaxEvents 32}catch{if($_.FullyQualifiedErrorId -notmatch 'NoMatching|NoMatchingProvidersFound|LogsAndProvidersDontOverlap'){throw}})){
if(-not $e){continue}
$x=@{};foreach($n in ([xml]$e.ToXml()).GetElementsByTagName('Data')){$k=$n.GetAttribute('Name');if(-not $k){$k="$($x.Count)"};$v=$n.InnerText;$x[$k]=$v.Substring(0,[Math]::Min(2000,$v.Length))}
[void]$o.Add(@{log=$q.log;provider=$e.ProviderName;id=$e.Id;record=$e.RecordId;at=$e.TimeCreated.ToUniversalTime().ToString('o');data=$x})}}
$s=Join-Path $env:SystemRoot 'System32\LogFiles\Srt\SrtTrail.txt'
$trail=$null;if(Test-Path -LiteralPath $s){$t=Get-Item -LiteralPath $s;if($t.LastWriteTimeUtc -ge $since.ToUniversalTime()){
$trail=@{at=$t.LastWriteTimeUtc.ToString('o');text=((Get-Content -LiteralPath $s -Tail 20) -join [string][char]10)}}}
Reply @{now=[DateTime]::UtcNow.ToString('o');events=$o;trail=$trail}
`

// scripts are all of them, for the tests and for stand-ins.
var scripts = []script{scriptAlive, scriptFacts, scriptPlace, scriptPush, scriptStart, scriptFirewall, scriptHalt, scriptLogs}

// name is what a script is called.
func (s script) name() string {
	line, _, _ := strings.Cut(strings.TrimPrefix(string(s), scriptMark), "\n")
	return line
}

// maxCommandLine is the longest line that cmd.exe takes, in characters; WinRM's shell hands its commands to it
// (from memory).
const maxCommandLine = 8191

const powershell = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand "

// commandLine is the line that runs the script. What it holds of args is base64 of JSON.
func (s script) commandLine(args any) (string, error) {
	if args == nil {
		args = struct{}{}
	}
	b, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("the arguments of %q: %w", s.name(), err)
	}
	text := strings.Replace(string(s), argsMark, base64.StdEncoding.EncodeToString(b), 1)
	wide, err := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder().String(text)
	if err != nil {
		return "", fmt.Errorf("encoding the script %q: %w", s.name(), err)
	}
	line := powershell + base64.StdEncoding.EncodeToString([]byte(wide))
	if len(line) > maxCommandLine {
		return "", fmt.Errorf("the script %q takes a line of %d characters, and %d is the most", s.name(), len(line), maxCommandLine)
	}
	return line, nil
}

// decodeCommandLine is how a command line is read again: the script's name and its arguments.
func decodeCommandLine(line string) (name string, args []byte, err error) {
	code, ok := strings.CutPrefix(line, powershell)
	if !ok {
		return "", nil, errors.New("not a command line of this driver")
	}
	b, err := base64.StdEncoding.DecodeString(code)
	if err != nil {
		return "", nil, errors.New("the command is not in base64")
	}
	text, err := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder().String(string(b))
	if err != nil {
		return "", nil, errors.New("the command is not UTF-16")
	}
	if !strings.HasPrefix(text, scriptMark) {
		return "", nil, errors.New("the script has no name")
	}
	_, rest, ok := strings.Cut(text, "FromBase64String('")
	code, _, closed := strings.Cut(rest, "')")
	if !ok || !closed {
		return "", nil, errors.New("the script has no arguments")
	}
	args, err = base64.StdEncoding.DecodeString(code)
	if err != nil {
		return "", nil, errors.New("the arguments are not in base64")
	}
	return script(text).name(), args, nil
}

// lines makes lines of base64 of what r gives, as the scripts read them. A line holds less than 64 KiB.
func lines(r io.Reader) io.Reader { return &lineReader{in: r} }

type lineReader struct {
	in   io.Reader
	line []byte // what is left of the line
	err  error
}

// Read gives the lines out.
func (l *lineReader) Read(b []byte) (int, error) {
	if len(l.line) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		buf := make([]byte, 45<<10) // divisible by 3: no line but the last is padded
		n, err := io.ReadFull(l.in, buf)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		l.err = err
		if n > 0 {
			l.line = append(base64.StdEncoding.AppendEncode(nil, buf[:n]), '\r', '\n')
		}
		if len(l.line) == 0 {
			return 0, l.err
		}
	}
	n := copy(b, l.line)
	l.line = l.line[n:]
	return n, nil
}
