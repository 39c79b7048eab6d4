package main

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"testing"
)

// forwarder is a Windows library, for amd64, of one function that stands in another library: "LIBRARY.function". It has no code.
//
// Go's runtime needs ProcessPrng of bcryptprimitives.dll, which every Windows since 8 has and Wine only since version 9.
func forwarder(library, function, to string) []byte {
	const (
		headers = 0x200  // bytes in the file
		base    = 0x1000 // where the section lies in memory
		page    = 0x1000
	)
	le := binary.LittleEndian
	// The export directory, its three tables of one entry each, and the strings.
	const functions, names, ordinals, strings = 40, 44, 48, 50
	data := make([]byte, strings)
	at := func(s string) uint32 {
		rva := base + uint32(len(data))
		data = append(append(data, s...), 0)
		return rva
	}
	le.PutUint32(data[12:], at(library))
	le.PutUint32(data[16:], 1) // the first ordinal
	le.PutUint32(data[20:], 1) // functions
	le.PutUint32(data[24:], 1) // names
	le.PutUint32(data[28:], base+functions)
	le.PutUint32(data[32:], base+names)
	le.PutUint32(data[36:], base+ordinals)
	// An address inside of the directory is a forward. The appends above may have moved data: every Put names it anew.
	f, n := at(to), at(function)
	le.PutUint32(data[functions:], f)
	le.PutUint32(data[names:], n)
	size := uint32(len(data))
	data = append(data, make([]byte, 0x200-len(data)%0x200)...)

	var b bytes.Buffer
	dos := make([]byte, 64)
	copy(dos, "MZ")
	le.PutUint32(dos[60:], 64)
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	put := func(v any) { _ = binary.Write(&b, le, v) } // a bytes.Buffer takes everything
	put(pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
		Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE | pe.IMAGE_FILE_DLL,
	})
	o := pe.OptionalHeader64{
		Magic: 0x20b, SizeOfInitializedData: uint32(len(data)), ImageBase: 0x180000000, SectionAlignment: page, FileAlignment: headers,
		MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6, SizeOfImage: base + page, SizeOfHeaders: headers,
		Subsystem: pe.IMAGE_SUBSYSTEM_WINDOWS_CUI, DllCharacteristics: pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
		SizeOfStackReserve: 1 << 20, SizeOfStackCommit: page, SizeOfHeapReserve: 1 << 20, SizeOfHeapCommit: page, NumberOfRvaAndSizes: 16,
	}
	o.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{VirtualAddress: base, Size: size}
	put(o)
	s := pe.SectionHeader32{
		VirtualSize: size, VirtualAddress: base, SizeOfRawData: uint32(len(data)), PointerToRawData: headers,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	}
	copy(s.Name[:], ".rdata")
	put(s)
	b.Write(make([]byte, headers-b.Len()))
	b.Write(data)
	return b.Bytes()
}

func TestForwarderIsALibrary(t *testing.T) {
	f, err := pe.NewFile(bytes.NewReader(forwarder("a.dll", "F", "b.G")))
	if err != nil || len(f.Sections) != 1 || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		t.Fatal(f, err)
	}
}
